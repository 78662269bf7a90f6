"""Measures how busy a worker and its machine are, for MLflow and Prometheus."""

import threading
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
        self.images_per_second = Gauge("cuhs_images_per_second", "Images trained a second.", tag_keys=tuple(tags))
        self.checkpoint_seconds = Gauge(
            "cuhs_checkpoint_seconds", "How long it took to store the last checkpoint.", tag_keys=tuple(tags)
        )
        for gauge in (self.images_per_second, self.checkpoint_seconds):
            gauge.set_default_tags(tags)


class NoGauges:
    """Stands for :class:`Gauges` where no Prometheus reads them: without Ray."""

    class _Gauge:
        def set(self, value: float) -> None:
            """Forget the value."""

    images_per_second = checkpoint_seconds = _Gauge()


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
