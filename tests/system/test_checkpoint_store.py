"""A training whose checkpoints lie in the object store: killed at every level, damaged, its server away."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from cuhs.training.epoch import EpochPart
from infra.local.seaweed import Seaweed
from pipelines.base import params
from pipelines.storage.checkpoint_store import StoredCheckpoints
from pipelines.storage.object_store import ObjectStore
from tests.system.project import ROOT, Felt, descendants, inherited, kill_tree, wait_for
from tests.system.stored_training import EPOCHS, NAME, PARAMS, Fit

pytestmark = [pytest.mark.system, pytest.mark.long]


class Stage:
    """The stage in a process and a folder of its own, and its checkpoints in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gates = folder, folder / "gates"
        self.gates.mkdir()
        self.store = ObjectStore.from_environment().within("runs", NAME)
        self.process: subprocess.Popen[str] | None = None
        self.started: list[psutil.Process] = []

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.stored_training", str(self.gates)],
            cwd=self.folder,
            env=inherited() | {"PYTHONPATH": str(ROOT), "CUHS_STORE": os.environ["CUHS_STORE"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def open(self, *epochs: int) -> None:
        """Let epochs run, counted from 1."""
        for epoch in epochs:
            (self.gates / str(epoch)).touch()

    def stored(self) -> list[int]:
        """Epochs of the checkpoints that are whole."""
        return [int(name.split("_")[1]) + 1 for name in self.store.children() if self.store.within(name).trees()]

    def wait(self, epoch: int) -> None:
        """Until its checkpoint is stored."""
        wait_for(lambda: epoch in self.stored(), self.process)

    def kill_one(self, name: str) -> None:
        """SIGKILL a process of Ray's, and wait for the one that takes its place."""
        assert self.process
        known = descendants(self.process.pid, name)
        known[0].kill()
        wait_for(lambda: set(descendants(self.process.pid, name)) - set(known), self.process)

    def output(self, code: int = 0) -> str:
        """All it said, when it has ended with a code."""
        assert self.process
        self.remember()
        out, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == code, out[-4000:]
        return out

    def result(self, said: str = "") -> tuple[list[float], float]:
        """Losses and weights of the whole training, in which ``said`` was said."""
        out = self.output()
        assert said in out
        losses, weights = json.loads(out.splitlines()[-1])
        return losses, weights

    def remember(self) -> None:
        """Know all processes, to end those that outlive the stage."""
        assert self.process
        with suppress(psutil.NoSuchProcess):
            self.started += psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """SIGKILL it with all that it started."""
        if self.process:
            self.remember()
            kill_tree(self.process.pid)
            for left in self.started:
                kill_tree(left.pid)
            self.process.communicate()


@pytest.fixture
def stage(s3: Seaweed, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], float]:
    """What the training gives in one process, without Ray."""
    gates = tmp_path_factory.mktemp("gates")
    for epoch in range(EPOCHS):
        (gates / str(epoch + 1)).touch()
    training = Fit(params.load(PARAMS), {"gates": str(gates)}, torch.device("cpu"))
    losses = [training.epoch(epoch, EpochPart(), lambda done, steps: None)["loss"] for epoch in range(EPOCHS)]
    return losses, training.model.weight.detach().double().abs().sum().item()


def test_a_killed_worker_and_a_killed_controller_go_on_from_the_store(
    stage: Stage, undisturbed: tuple[list[float], float], felt: Felt
) -> None:
    stage.start()
    stage.open(1, 2)
    stage.wait(2)
    with felt("a training worker is killed"):
        stage.kill_one("ray::RayTrainWorker")
        stage.open(3)
        stage.wait(3)
    stage.open(4)
    stage.wait(4)
    with felt("what drives the workers is killed"):
        stage.kill_one("ray::TrainController")
        stage.open(5)
        stage.wait(5)
    stage.open(6)
    said = f"{NAME}: what drives its workers was killed; going on from the last checkpoint"
    assert stage.result(said) == (pytest.approx(undisturbed[0]), pytest.approx(undisturbed[1]))
    assert stage.stored() == [5, 6]
    assert not list(stage.folder.glob("runs/*/checkpoint*"))
    StoredCheckpoints(stage.store.url).discard()
    assert stage.store.children() == []


def test_a_damaged_checkpoint_is_passed_over_and_an_absent_server_waited_for(
    stage: Stage, s3: Seaweed, undisturbed: tuple[list[float], float], felt: Felt
) -> None:
    stage.start()
    stage.open(1, 2, 3)
    stage.wait(3)
    stage.kill()

    newest = stage.store.within(stage.store.children()[-1])
    entry = max(newest.tree(newest.trees()[0]).entries, key=lambda entry: entry.size)
    key = f"{newest.url.removeprefix(f's3://{newest.bucket}/')}/objects/{entry.sha256}"
    s3.client().put_object(Bucket=newest.bucket, Key=key, Body=bytes(entry.size))

    with felt("the stage is killed, started again, and the last checkpoint is damaged"):
        stage.start()
        # The one of the third epoch is there twice then: damaged, and anew.
        wait_for(lambda: stage.stored() == [3, 3], stage.process)
    s3.stop()
    stage.open(4)
    with felt("the object store is started again while a checkpoint waits for it"):
        s3.start()
        stage.wait(4)
    stage.open(5, 6)
    assert stage.result() == (pytest.approx(undisturbed[0]), pytest.approx(undisturbed[1]))
    assert stage.stored() == [5, 6]


def test_a_training_that_cannot_go_on_says_so_and_is_not_taken_for_finished(stage: Stage) -> None:
    stage.start()
    stage.open(1)
    stage.wait(1)
    (stage.gates / "diverge").touch()
    stage.open(2)
    out = stage.output(code=2)
    assert out.splitlines()[-1] == "error: the loss is not finite in epoch 2; lower lr or warm up longer"
    assert stage.stored() == [1]
