"""How the workers' metrics become those of an epoch, and what a worker says that it computes on."""

import pytest

from cuhs.training.numerics import Numerics
from pipelines.base.params import Compute
from pipelines.training import team, worker
from pipelines.training.team import Alone, mean_of_all


def test_rates_add_up_memory_is_the_largest_and_all_else_is_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"loss": 1.0, "images_per_second": 30.0, "gpu_memory_mib": 900.0, "mfu": 0.5}
    # Its card is none whose peak is known.
    second = {"loss": 2.0, "images_per_second": 20.0, "gpu_memory_mib": 800.0}
    monkeypatch.setattr(team, "of_all", lambda team, value: [first, second])
    alone = Alone(Compute(gpu="no"))
    for own in (first, second):
        found = mean_of_all(alone, own)
        assert found == {"loss": 1.5, "images_per_second": 50.0, "gpu_memory_mib": 900.0}


def test_a_worker_says_what_it_computes_on_and_that_there_is_no_utilisation(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Alone(Compute(gpu="no"))
    line = worker._computes(Numerics("tf32", True), alone)
    assert line == "1 × CPU, float32, deterministic; no mfu: the peak of this device is not known"
    monkeypatch.setattr(worker, "device_name", lambda device: "NVIDIA L4")
    monkeypatch.setattr(worker, "peak_flops", lambda device, precision: 121e12)
    assert worker._computes(Numerics("bfloat16"), alone) == "1 × NVIDIA L4, bfloat16"
