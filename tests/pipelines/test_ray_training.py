import pytest

from cuhs.errors import CuhsError
from pipelines import ray_training
from pipelines.params import Compute


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
    scaled = ray_training.scaling(compute(workers=workers), resources, node_cpus)
    assert scaled == {"num_workers": workers, "use_gpu": gpu, "resources_per_worker": {"CPU": share}}


def test_a_worker_takes_no_more_cpus_than_it_may() -> None:
    assert ray_training.scaling(compute(cpus_per_worker=4), {"CPU": 64}, 32)["resources_per_worker"] == {"CPU": 4}


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
def test_as_many_trials_run_beside_one_another_as_fit_with_their_drivers(
    changes: dict[str, object], resources: dict[str, float], node_cpus: float, trials: int
) -> None:
    config = compute(**changes)
    assert ray_training.concurrent(config, resources, node_cpus) == trials
    driver = 0.1
    scaled = ray_training.scaling(config, resources, node_cpus, trials, reserved=driver)
    worker = scaled["resources_per_worker"]["CPU"]
    assert worker > 0
    # No deadlock: with every trial's driver running, all workers of one trial still find room.
    assert trials * driver + config.workers * worker <= resources["CPU"] + 1e-9


def test_gpus_that_are_demanded_and_absent_are_an_error() -> None:
    with pytest.raises(CuhsError, match=r"compute\.gpu: 2 workers need as many GPUs, the cluster has 1"):
        ray_training.scaling(compute(workers=2, gpu="yes"), {"CPU": 8, "GPU": 1}, 8)


def test_gpus_can_be_left_alone() -> None:
    assert not ray_training.scaling(compute(gpu="no"), {"CPU": 8, "GPU": 1}, 8)["use_gpu"]
