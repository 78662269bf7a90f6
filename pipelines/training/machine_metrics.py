"""Measures how busy a worker and its machine are, for MLflow and Prometheus."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from pipelines.training.board import Post
from pipelines.training.team import Team

EVERY_S = 5.0


class Gauges:
    """A worker's metrics for Prometheus, as Ray gauges; Ray puts ``ray_`` before their names.

    Args:
        run: the training's name.
        rank: the worker's rank.
    """

    def __init__(self, run: str, rank: int) -> None:
        from ray.util.metrics import Gauge

        tags = {"stage": run.partition("-")[0], "run": run, "rank": str(rank)}
        self.checkpoint_seconds = Gauge(
            "cuhs_checkpoint_seconds", "How long it took to store the last checkpoint.", tag_keys=tuple(tags)
        )
        self._of_epoch = {
            "images_per_second": Gauge("cuhs_images_per_second", "Images trained a second.", tag_keys=tuple(tags)),
            "waiting": Gauge("cuhs_waiting", "Share of the time spent waiting for batches.", tag_keys=tuple(tags)),
            "mfu": Gauge("cuhs_mfu", "Model FLOPs utilisation, in [0, 1].", tag_keys=tuple(tags)),
            "gpu_memory_mib": Gauge(
                "cuhs_gpu_memory_mib", "Most memory that tensors held in an epoch.", tag_keys=tuple(tags)
            ),
        }
        for gauge in (self.checkpoint_seconds, *self._of_epoch.values()):
            gauge.set_default_tags(tags)

    def of_epoch(self, metrics: Mapping[str, float]) -> None:
        """Set the gauges of an epoch to this worker's metrics, those that it has."""
        for name, gauge in self._of_epoch.items():
            if name in metrics:
                gauge.set(metrics[name])


class NoGauges:
    """Stands for :class:`Gauges` where no Prometheus reads them: without Ray."""

    class _Gauge:
        def set(self, value: float) -> None:
            """Forget the value."""

    checkpoint_seconds = _Gauge()

    def of_epoch(self, metrics: Mapping[str, float]) -> None:
        """Forget the metrics."""


AnyGauges: TypeAlias = Gauges | NoGauges


class MachineMetrics(threading.Thread):
    """Reports how busy this machine is until the worker ends; only one worker of each machine reports.

    Args:
        board: the board to report to.
        team: the worker's place among all.
    """

    def __init__(self, board: Post, team: Team) -> None:
        super().__init__(name="machine metrics", daemon=True)
        self._board = board
        machine, place = team.machine
        self._first = place == 0
        self._prefix = f"system/node_{machine}/" if team.machines else "system/"
        self._over = threading.Event()

    def stop(self) -> None:
        """Stop measuring."""
        self._over.set()

    def run(self) -> None:
        """Measure every :data:`EVERY_S` seconds."""
        if not self._first:
            return
        # Imported in this thread: it takes seconds, and the training need not wait for it.
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(Exception):  # whatever a machine without NVIDIA's driver raises
            monitors.append(GPUMonitor())
        while not self._over.wait(EVERY_S):
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            self._board.tell("machine", {f"{self._prefix}{key}": value for key, value in values.items()})
