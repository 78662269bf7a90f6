import pytest

from cuhs.errors import CuhsError
from pipelines.base.params import Compute
from pipelines.cluster.resources import concurrent, scaling


def compute(**changes: object) -> Compute:
    return Compute.model_validate(changes)


@pytest.mark.parametrize(
    ("workers", "resources", "node_cpus", "gpu", "share"),
    [
        (1, {"CPU": 2}, 2, False, 2),
        (2, {"CPU": 2}, 2, False, 1),
        (4, {"CPU": 2}, 2, False, 0.5),
        (1, {"CPU": 64}, 16, False, 16),
        (3, {"CPU": 8}, 4, False, 2),
        (2, {"CPU": 16, "GPU": 2}, 16, True, 8),
        (4, {"CPU": 16, "GPU": 2}, 16, False, 4),
    ],
)
def test_workers_share_the_cluster_and_always_fit(
    workers: int, resources: dict[str, float], node_cpus: float, gpu: bool, share: float
) -> None:
    scaled = scaling(compute(workers=workers), resources, node_cpus)
    assert scaled == {"num_workers": workers, "use_gpu": gpu, "resources_per_worker": {"CPU": share}}


def test_a_worker_takes_no_more_cpus_than_it_may() -> None:
    assert scaling(compute(cpus_per_worker=4), {"CPU": 64}, 32)["resources_per_worker"] == {"CPU": 4}


@pytest.mark.parametrize(
    ("changes", "resources", "node_cpus", "trials"),
    [
        ({}, {"CPU": 2}, 2, 1),
        ({}, {"CPU": 64}, 16, 4),
        ({"workers": 2}, {"CPU": 64}, 16, 2),
        ({"cpus_per_worker": 4}, {"CPU": 64}, 16, 16),
        ({"workers": 8}, {"CPU": 2}, 2, 1),
        ({"workers": 2}, {"CPU": 64, "GPU": 8}, 16, 4),
        ({"workers": 2, "gpu": "no"}, {"CPU": 64, "GPU": 8}, 16, 2),
    ],
)
def test_as_many_trials_run_beside_one_another_as_fit(
    changes: dict[str, object], resources: dict[str, float], node_cpus: float, trials: int
) -> None:
    config = compute(**changes)
    assert concurrent(config, resources, node_cpus) == trials
    scaled = scaling(config, resources, node_cpus, trials)
    worker = scaled["resources_per_worker"]["CPU"]
    assert worker > 0
    # No deadlock: all workers of all trials find room.
    assert trials * config.workers * worker <= resources["CPU"] + 1e-9


def test_gpus_that_are_demanded_and_absent_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CuhsError, match=r"compute\.gpu: 2 workers need as many GPUs, this machine has 1"):
        scaling(compute(workers=2, gpu="yes"), {"CPU": 8, "GPU": 1}, 8)


def test_a_cluster_is_asked_for_gpus_that_it_may_still_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert scaling(compute(workers=2, gpu="yes"), {"CPU": 8}, 8)["use_gpu"]


def test_workers_may_become_fewer_where_that_is_allowed() -> None:
    assert scaling(compute(workers=4, min_workers=2), {"CPU": 8}, 4)["num_workers"] == (2, 4)
    with pytest.raises(ValueError, match=r"compute\.min_workers: 3 is more than compute\.workers, 2"):
        compute(workers=2, min_workers=3)


def test_gpus_can_be_left_alone() -> None:
    assert not scaling(compute(gpu="no"), {"CPU": 8, "GPU": 1}, 8)["use_gpu"]
