"""Profiles a few steps of a training: a trace of them in time, and a table of the largest operators."""

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity

from cuhs.files import write_file
from pipelines.base.paths import PROFILES
from pipelines.training.board import Post, Profile

if TYPE_CHECKING:
    from pipelines.tracking.run import Run

# Steps before those that are profiled: the first ones also allocate memory and choose algorithms.
WARM_UP = 3
# Operators in the table.
ROWS = 25

log = logging.getLogger(__name__)


class Profiler:
    """Profiles the steps after the first :data:`WARM_UP` ones of the first epoch that this process trains.

    As a context manager it encloses an epoch, where :meth:`step` is called after each step. It ends with the epoch,
    and does nothing in the epochs after it.

    Args:
        steps: how many steps to profile, if the epoch has as many; 0 profiles nothing.
        device: the device that is trained on.
        board: where the profile goes.
    """

    def __init__(self, steps: int, device: torch.device, board: Post) -> None:
        self._steps, self._cuda, self._board = steps, device.type == "cuda", board
        self._running: torch.profiler.profile | None = None

    def __enter__(self) -> None:
        if self._steps:
            # The tracer's own remarks, such as that there is no GPU, would disturb the progress bar.
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")
            self._running = torch.profiler.profile(
                activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * self._cuda],
                schedule=torch.profiler.schedule(wait=0, warmup=WARM_UP, active=self._steps, repeat=1),
                on_trace_ready=self._ready,
            )
            self._steps = 0
            self._running.start()

    def step(self) -> None:
        """Note that a step is done."""
        if self._running is not None:
            self._running.step()

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        running, self._running = self._running, None
        if running is not None:
            if kind is not None or running.step_num <= WARM_UP:
                running.on_trace_ready = None
            running.stop()
            if kind is None and running.step_num <= WARM_UP:
                self._board.tell("say", f"train.profile: no step is left to profile after {WARM_UP} to warm up")

    def _ready(self, profiled: Any) -> None:
        time = "self_device_time_total" if self._cuda else "self_cpu_time_total"
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json.gz"
            profiled.export_chrome_trace(str(trace))
            table = profiled.key_averages().table(sort_by=time, row_limit=ROWS, max_name_column_width=60)
            self._board.tell("profiled", Profile(profiled.step_num - WARM_UP, trace.read_bytes(), table))


def keep(profile: Profile, stage: str, run: "Run") -> None:
    """Write a profile to ``reports/profile/STAGE``, and log it to the run's artifacts, in the folder ``profile``."""
    folder = PROFILES / stage
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("trace.json.gz", profile.trace), ("operators.txt", profile.table)):
        write_file(folder / name, content)
    run.artifacts(folder, "profile")
    log.info(
        "%s: profile of %d steps in %s, and in MLflow under profile/: open trace.json.gz in https://ui.perfetto.dev "
        "or chrome://tracing; operators.txt lists the largest operators",
        stage,
        profile.steps,
        folder,
    )
