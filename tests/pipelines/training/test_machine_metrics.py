"""What Prometheus is told of a worker's epochs."""

from typing import Any

import pytest
import ray.util.metrics

from pipelines.training.machine_metrics import Gauges, NoGauges


def test_gauges_show_those_metrics_of_an_epoch_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, float] = {}

    class Gauge:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name = name

        def set_default_tags(self, tags: dict[str, str]) -> None:
            self.tags = tags

        def set(self, value: float) -> None:
            assert self.tags == {"stage": "train", "run": "train-1f0c", "rank": "1"}
            shown[self.name] = value

    monkeypatch.setattr(ray.util.metrics, "Gauge", Gauge)
    for gauges in (Gauges("train-1f0c", 1), NoGauges()):
        either: Any = gauges
        either.of_epoch({"loss": 1.0, "images_per_second": 30.0, "waiting": 0.1, "mfu": 0.4})
        either.checkpoint_seconds.set(2.0)
    assert shown == {
        "cuhs_images_per_second": 30.0,
        "cuhs_waiting": 0.1,
        "cuhs_mfu": 0.4,
        "cuhs_checkpoint_seconds": 2.0,
    }
