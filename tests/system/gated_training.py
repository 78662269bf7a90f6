"""A training that ends an epoch only when a test lets it, and the stage around it."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from cuhs.training.epoch import EpochPart, OnStep
from cuhs.training.numerics import Numerics
from pipelines.base import params
from pipelines.base.params import Params
from pipelines.tracking.run import Run, send_left
from pipelines.training import start

PARAMS = Path(__file__).parents[2] / "params.yaml"
EPOCHS = 6


class Gated:
    """Fits one number; epoch ``n``, counted from 1, waits for the file ``n`` in the folder ``gates``."""

    epochs, numerics = EPOCHS, Numerics()

    def __init__(self, params: Params, paths: Mapping[str, str], device: torch.device, *_: int) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.gates = Path(paths["gates"])

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """One step towards nought."""
        while not (self.gates / str(epoch + 1)).exists():
            time.sleep(0.05)
        self.optimizer.zero_grad()
        loss = self.model.weight.square().sum()
        loss.backward()
        self.optimizer.step()
        on_step(1, 1)
        return {"loss": loss.item(), "images_per_second": 1.0}


def stage(name: str, gates: Path) -> list[dict[str, float]]:
    """What a stage does with MLflow and Ray, in the working folder; its epochs' measures."""
    send_left()
    p = params.load(PARAMS)
    run = Run.start("cuhs", name, {"cuhs.kind": "model"}, p.model_dump(mode="json"), "A number.")
    state = start.train(Gated, p, {"gates": str(gates)}, name, run)
    model = Path("models") / name
    model.mkdir(parents=True)
    (model / "model.json").write_text("{}")
    run.write(Path("models") / f"{name}.json")
    run.metrics({"parameters_mib": 0.1})
    run.artifacts(model, "model")
    run.finish()
    history: list[dict[str, float]] = state["history"]
    return history
