"""``python -m tests.system.stored_training GATES``: a stage whose training waits for a test before each epoch."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cuhs.training.epoch import EpochPart, OnStep
from cuhs.training.numerics import Numerics
from pipelines.base import cli, params
from pipelines.base.params import Params
from pipelines.training import start

PARAMS = Path(__file__).parents[2] / "params.yaml"
NAME, EPOCHS = "train-stored", 6


class Fit:
    """Fits noise, always the same; epoch ``n``, counted from 1, waits for the file ``n`` in the folder ``gates``.

    A file ``diverge at n`` there lets it diverge in that epoch, and a file ``break at n`` fail.
    With the momentum of its optimizer a checkpoint has 32 MiB: two parts of an upload.
    """

    epochs, numerics = EPOCHS, Numerics()

    def __init__(self, params: Params, paths: Mapping[str, str], device: torch.device, *_: int) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(2048, 2048, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.gates = Path(paths["gates"])

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """One step on the epoch's own noise."""
        while not (self.gates / str(epoch + 1)).exists():
            time.sleep(0.05)
        if (self.gates / f"break at {epoch + 1}").exists():
            raise ValueError("a row is too short")
        noise = torch.randn(2, 4, 2048, generator=torch.Generator().manual_seed(epoch))
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(noise[0]), noise[1])
        loss.backward()
        self.optimizer.step()
        on_step(1, 1)
        diverged = (self.gates / f"diverge at {epoch + 1}").exists()
        return {"loss": math.inf if diverged else loss.item(), "images_per_second": 1.0}


class Untracked:
    """Stands where a run of MLflow would."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def train(gates: str) -> tuple[list[float], float]:
    """The losses and a sum of the weights."""
    p = params.with_values(params.load(PARAMS), {"compute.workers": 2, "compute.max_failures": 2})
    run: Any = Untracked()
    state = start.train(Fit, p, {"gates": gates}, NAME, run)
    losses = [epoch["loss"] for epoch in state["history"]]
    return losses, state["model"]["weight"].double().abs().sum().item()


if __name__ == "__main__":
    sys.exit(cli.run(lambda: print(json.dumps(train(sys.argv[1])))))
