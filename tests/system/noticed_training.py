"""``python -m tests.system.noticed_training DATASET``: the main training, tiny, as slow as a test wants it."""

import argparse
import hashlib
import json
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cuhs.training.epoch import EpochPart, OnStep
from pipelines.base import cli, params
from pipelines.base.params import Params
from pipelines.training import ray_training, start
from pipelines.training.trainings import ReIDRun
from tests.system.stored_training import PARAMS, Untracked

NAME, EPOCHS = "train-noticed", 3
# In the working folder: the steps that were done, and how many seconds each takes; without it none.
STEPS_FILE, SLOW_FILE = Path("steps.txt"), Path("slow.txt")
VALUES = {
    "image.height": 64,
    "image.width": 32,
    "network.channels": 8,
    "network.weights": "none",
    "network.streams": {"bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 2}},
    "train.warmup_epochs": 0,
    "train.identities": 2,
    "train.images_per_identity": 2,
    "compute.workers": 2,
    "compute.gpu": "no",
}


class Slow(ReIDRun):
    """Takes its time in each step, and writes which steps it does."""

    def __init__(
        self,
        params: Params,
        paths: dict[str, str],
        device: torch.device,
        rank: int,
        workers: int,
        *,
        folder: Path,
    ) -> None:
        super().__init__(params, paths, device, rank, workers)
        self.folder, self.first = folder, rank == 0

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        def slowly(done: int, steps: int) -> None:
            if self.first:
                with (self.folder / STEPS_FILE).open("a") as file:
                    file.write(f"{epoch} {done}\n")
            with suppress(OSError):
                time.sleep(float((self.folder / SLOW_FILE).read_text() or 0))
            on_step(done, steps)

        return super().epoch(epoch, part, slowly)


def train(dataset: Path, min_workers: int | None = None) -> Any:
    """The measures of all epochs but their speed, and a digest of the weights.

    With ``min_workers`` it may have fewer than two, has no end, and Ray looks for nodes every five seconds.
    """
    if min_workers:
        scaling = ray_training.scaling
        ray_training.scaling = lambda *args: scaling(*args) | {"elastic_resize_monitor_interval_s": 5}
    changed = {"train.epochs": 1000 if min_workers else EPOCHS, "compute.min_workers": min_workers}
    p = params.with_values(params.load(PARAMS), VALUES | changed)
    run: Any = Untracked()
    make = partial(Slow, folder=Path.cwd())
    state = start.train(make, p, {"dataset": str(dataset)}, NAME, run)
    for epoch in state["history"]:
        del epoch["images_per_second"], epoch["waiting"]
    weights = b"".join(value.numpy().tobytes() for value in state["model"].values())
    return [state["history"], hashlib.sha256(weights).hexdigest()]


def main() -> int:
    """Train, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--min-workers", type=int)
    given = vars(parser.parse_args())
    return cli.run(lambda: print(json.dumps(train(**given))))


if __name__ == "__main__":
    sys.exit(main())
