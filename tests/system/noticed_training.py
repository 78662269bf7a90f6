"""``python -m tests.system.noticed_training DATASET PAUSE``: the main training, tiny, slow until epoch 2 is over."""

import hashlib
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cuhs.training.epoch import EpochPart, OnStep
from pipelines.base import cli, params
from pipelines.base.params import Params
from pipelines.training import ray_training
from pipelines.training.trainings import ReIDRun
from tests.system.stored_training import PARAMS, Untracked

NAME, EPOCHS, SLOW = "train-noticed", 3, 1
STEPS_FILE = Path("steps.txt")
VALUES = {
    "image.height": 64,
    "image.width": 32,
    "network.channels": 8,
    "network.weights": "none",
    "network.streams": {"bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 2}},
    "train.epochs": EPOCHS,
    "train.warmup_epochs": 0,
    "train.identities": 2,
    "train.images_per_identity": 2,
    "compute.workers": 2,
    "compute.gpu": "no",
}


class Slow(ReIDRun):
    """Waits ``pause`` seconds in each step of the first epochs, and writes into a file which steps it does."""

    def __init__(
        self,
        params: Params,
        paths: dict[str, str],
        device: torch.device,
        rank: int,
        workers: int,
        *,
        pause: float,
        done: Path,
    ) -> None:
        super().__init__(params, paths, device, rank, workers)
        self.pause, self.done = pause, done if rank == 0 else None

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        def slowly(done: int, steps: int) -> None:
            if self.done:
                with self.done.open("a") as file:
                    file.write(f"{epoch} {done}\n")
            if epoch <= SLOW:
                time.sleep(self.pause)
            on_step(done, steps)

        return super().epoch(epoch, part, slowly)


def main() -> None:
    """Train, and print the measures of all epochs but their speed, and a digest of the weights."""
    dataset, pause = sys.argv[1:]
    p = params.with_values(params.load(PARAMS), VALUES)
    run: Any = Untracked()
    make = partial(Slow, pause=float(pause), done=STEPS_FILE.resolve())
    state = ray_training.train(make, p, {"dataset": dataset}, NAME, run)
    for epoch in state["history"]:
        del epoch["images_per_second"]
    weights = b"".join(value.numpy().tobytes() for value in state["model"].values())
    print(json.dumps([state["history"], hashlib.sha256(weights).hexdigest()]))


if __name__ == "__main__":
    cli.run(main)
