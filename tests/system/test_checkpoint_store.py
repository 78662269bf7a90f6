"""A training whose checkpoints lie in the object store: killed at two levels, damaged, its server away."""

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

from cuhs.errors import CuhsError
from cuhs.training.epoch import EpochPart
from infra.local.seaweed import Seaweed
from pipelines.base import params
from pipelines.storage.checkpoint_store import StoredCheckpoints
from pipelines.storage.object_store import ObjectStore
from tests.system.project import ROOT, Felt, descendants, inherited, kill_tree, wait_for
from tests.system.stored_training import EPOCHS, NAME, PARAMS, Fit, train

pytestmark = pytest.mark.system


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

    def result(self) -> tuple[list[float], float]:
        """Losses and weights of the whole training, when it has ended."""
        assert self.process
        self.remember()
        out, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, out[-4000:]
        losses, weights = json.loads(out.splitlines()[-1])
        return losses, weights

    def remember(self) -> None:
        """Know all processes, to end those that outlive the stage."""
        assert self.process
        with suppress(psutil.NoSuchProcess):
            self.started += psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> str:
        """SIGKILL it with all that it started; what it said."""
        if not self.process:
            return ""
        self.remember()
        kill_tree(self.process.pid)
        for left in self.started:
            kill_tree(left.pid)
        process, self.process = self.process, None
        return process.communicate()[0]


@pytest.fixture
def stage(losing_s3: Seaweed, tmp_path: Path) -> Iterator[Stage]:
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


@pytest.mark.long
def test_a_killed_controller_a_killed_stage_a_damaged_checkpoint_and_an_absent_server_change_nothing(
    stage: Stage, losing_s3: Seaweed, undisturbed: tuple[list[float], float], felt: Felt
) -> None:
    stage.start()
    stage.open(1, 2)
    stage.wait(2)
    with felt("what drives the workers is killed"):
        stage.kill_one("ray::TrainController")
        stage.open(3)
        stage.wait(3)
    said = stage.kill()
    assert f"{NAME}: what drives its workers was killed; going on from the last checkpoint" in said

    newest = stage.store.within(stage.store.children()[-1])
    entry = max(newest.tree(newest.trees()[0]).entries, key=lambda entry: entry.size)
    key = f"{newest.url.removeprefix(f's3://{newest.bucket}/')}/objects/{entry.sha256}"
    losing_s3.client().put_object(Bucket=newest.bucket, Key=key, Body=bytes(entry.size))

    with felt("the stage is killed, started again, and the last checkpoint is damaged"):
        stage.start()
        # The third epoch is trained again; its new checkpoint takes the damaged one's place.
        damaged = newest.url.rpartition("/")[2]
        wait_for(lambda: damaged not in stage.store.children() and stage.stored() == [2, 3], stage.process)
    losing_s3.stop()
    stage.open(4)
    with felt("the object store is started again while a checkpoint waits for it"):
        losing_s3.start()
        stage.wait(4)
    stage.open(5, 6)
    assert stage.result() == (pytest.approx(undisturbed[0]), pytest.approx(undisturbed[1]))
    assert stage.stored() == [5, 6]
    assert not list(stage.folder.glob("runs/*/checkpoint*"))
    StoredCheckpoints(stage.store.url).discard()
    assert stage.store.children() == []


def test_a_training_that_cannot_go_on_says_so_and_is_not_taken_for_finished(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUHS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2", "3", "diverge at 2"):
        (tmp_path / name).touch()
    for _ in range(2):
        with pytest.raises(CuhsError, match=r"^the loss is not finite in epoch 2; lower lr or warm up longer$"):
            train(str(tmp_path))
        assert [path.parent.name[:15] for path in tmp_path.glob("runs/*/*/manifest.json")] == ["checkpoint_0000"]


@pytest.mark.long
def test_a_training_that_fails_twice_in_the_same_way_is_given_up(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUHS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2", "break at 2"):
        (tmp_path / name).touch()
    same = r"failed twice in the same way \(epoch 2, step 1: ValueError: a row is too short\), so going on would not"
    with pytest.raises(CuhsError, match=f"^{NAME}: {same} help; runs/{NAME}/error.txt has the stack trace$"):
        train(str(tmp_path))
    assert 'raise ValueError("a row is too short")' in (tmp_path / "runs" / NAME / "error.txt").read_text()
    # Mended, it goes on from its checkpoint.
    (tmp_path / "break at 2").unlink()
    for epoch in range(2, EPOCHS):
        (tmp_path / str(epoch + 1)).touch()
    assert len(train(str(tmp_path))[0]) == EPOCHS
