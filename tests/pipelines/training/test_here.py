"""Trainings in this process: resumed, stopped, tried again, given up."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cuhs.errors import CuhsError
from cuhs.training.epoch import EpochPart, OnStep
from cuhs.training.numerics import Numerics
from pipelines.base import params
from pipelines.base.params import Params
from pipelines.base.signals import Terminated
from pipelines.training import start
from pipelines.training.team import Alone

PARAMS = Path(__file__).parents[3] / "params.yaml"
NAME, EPOCHS, STEPS = "train-here", 3, 4


class Tracked:
    """Stands for a run of MLflow; keeps the epochs and the names of artifacts."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []
        self.files: dict[str, list[str]] = {}

    def history(self, epochs: list[dict[str, float]]) -> None:
        self.epochs = epochs

    def machine(self, values: dict[str, float]) -> None:
        pass

    def artifacts(self, path: Path, folder: str) -> None:
        self.files[folder] = sorted(file.name for file in path.iterdir())


class Fit:
    """Fits noise in small steps; ``before`` is called before each."""

    epochs, numerics = EPOCHS, Numerics()
    before: Callable[[int, int], object] = staticmethod(lambda epoch, step: None)

    def __init__(self, params: Params, paths: dict[str, str], device: torch.device, *_: int) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 4)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        for step in range(part.steps, STEPS):
            self.before(epoch, step)
            noise = torch.randn(8, 4, generator=torch.Generator().manual_seed(10 * epoch + step))
            self.optimizer.zero_grad()
            loss = self.model(noise).square().mean()
            loss.backward()
            self.optimizer.step()
            part.steps, part.losses = step + 1, {"loss": part.losses.get("loss", 0.0) + loss.item()}
            on_step(step + 1, STEPS)
        return {"loss": float(part.losses["loss"]), "images_per_second": 1.0}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "CUHS_STORE"):
        monkeypatch.delenv(name, raising=False)
    # The question whether to stop is asked after each step.
    monkeypatch.setattr("pipelines.training.preemption.Notices._steps", lambda self, took: 1)
    return tmp_path


def train(before: Callable[[int, int], object] = lambda epoch, step: None, **of_train: object) -> tuple[Any, Any]:
    """The last state, and the run that tracked it; ``of_train`` are parameters of that section."""

    class Now(Fit):
        pass

    Now.before = staticmethod(before)
    run: Any = Tracked()
    values = {f"train.{key}": value for key, value in of_train.items()}
    state = start.train(Now, params.with_values(params.load(PARAMS), values), {}, NAME, run)
    return state, run


@pytest.fixture
def undisturbed(folder: Path) -> Any:
    state, run = train()
    for path in (folder / "runs" / NAME).iterdir():
        path.rename(folder / path.name)
    assert run.epochs == state["history"] and len(run.epochs) == EPOCHS
    return state


def same(a: Any, b: Any) -> bool:
    weights = all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    return weights and a["history"] == b["history"]


def raising(error: BaseException, times: int) -> Callable[[int, int], None]:
    """Raise in the third step of the second epoch, this many times."""
    left = [error] * times

    def before(epoch: int, step: int) -> None:
        if (epoch, step) == (1, 2) and left:
            raise left.pop()

    return before


def test_one_worker_needs_no_ray_and_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnRay(Exception):
        pass

    def on_ray(*args: object) -> None:
        raise OnRay

    monkeypatch.setattr(start, "train_on_ray", on_ray)
    train()
    p, run = params.load(PARAMS), Tracked()
    with pytest.raises(OnRay):
        start.train(Fit, params.with_values(p, {"compute.workers": 2}), {}, NAME, run)  # type: ignore[arg-type]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(OnRay):
        start.train(Fit, p, {}, NAME, run)  # type: ignore[arg-type]


def test_a_killed_training_goes_on(undisturbed: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(raising(KeyboardInterrupt(), 1))
    state, run = train()
    assert same(state, undisturbed) and run.epochs == state["history"]


def test_what_may_pass_is_tried_again(undisturbed: Any, caplog: pytest.LogCaptureFixture) -> None:
    state, _ = train(raising(OSError("compute.loader_processes: one was lost"), 2))
    assert same(state, undisturbed)
    assert caplog.text.count("compute.loader_processes: one was lost; going on from the last checkpoint") == 2


def test_but_not_for_ever() -> None:
    line = r"^train-here: broken off \(no room\); compute\.max_failures is 2; the same command goes on from the last"
    with pytest.raises(CuhsError, match=line):
        train(raising(OSError("no room"), 3))


def test_what_fails_twice_in_the_same_way_is_given_up_with_its_trace(folder: Path) -> None:
    line = r"failed twice in the same way \(epoch 2, step 3: ValueError: too short\), so going on would not help"
    with pytest.raises(CuhsError, match=line):
        train(raising(ValueError("too short"), 9))
    assert "raise left.pop()" in (folder / "runs" / NAME / "error.txt").read_text()


def test_sigterm_saves_in_the_middle_of_an_epoch(undisturbed: Any, folder: Path) -> None:
    def before(epoch: int, step: int) -> None:
        if (epoch, step) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Terminated, match="stopped by SIGTERM; the same command goes on from epoch 2, step 3"):
        train(before)
    state, _ = train(lambda epoch, step: pytest.fail("done twice") if (epoch, step) <= (1, 1) else None)
    assert same(state, undisturbed)


def test_a_profile_is_logged_and_changes_no_number(
    undisturbed: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state, run = train(profile=1)
    assert same(state, undisturbed)
    assert run.files == {"profile": ["operators.txt", "trace.json.gz"]}
    assert "aten::addmm" in (folder / "reports/profile/train/operators.txt").read_text()
    assert "train: profile of 1 steps in reports/profile/train, and in MLflow under profile/" in caplog.text


def test_a_gpu_that_must_be_there_and_is_not_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Alone(params.Compute()).device.type == "cpu"
    with pytest.raises(
        CuhsError, match=r"^compute\.gpu: PyTorch finds no GPU on this machine; set it to auto or no$"
    ):
        Alone(params.Compute(gpu="yes"))
