import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cuhs.errors import CuhsError
from cuhs.training import checkpoint as checkpoints
from pipelines.storage import checkpoint_store as checkpoint_stores
from pipelines.storage.checkpoint_store import FolderCheckpoints, StoredCheckpoints, checkpoint_store


def state(epoch: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((3,), float(epoch))}, "history": [{}] * (epoch + 1)}


@pytest.fixture
def store(tmp_path: Path) -> FolderCheckpoints:
    return FolderCheckpoints(tmp_path / "run")


def epochs(store: FolderCheckpoints) -> list[str]:
    return [path.name[:15] for path in sorted(store.folder.iterdir())]


def test_the_last_two_are_kept_and_the_newest_is_found(store: FolderCheckpoints) -> None:
    assert store.newest() is None
    for epoch in range(4):
        store.save(state(epoch), epoch)
    assert epochs(store) == ["checkpoint_0002", "checkpoint_0003"]
    newest = store.newest()
    assert newest is not None
    loaded = store.load(newest)
    assert loaded["model"]["w"].tolist() == [3, 3, 3] and len(loaded["history"]) == 4
    (store.folder / "mlflow_run").write_text("stays")
    store.discard()
    assert [path.name for path in store.folder.iterdir()] == ["mlflow_run"]


def test_a_part_of_an_epoch_comes_after_the_epoch_before_and_before_its_own_end(store: FolderCheckpoints) -> None:
    found = []
    for epoch, step in [(8, None), (9, 3), (9, 20), (9, 1000), (9, None), (10, 1), (10, None)]:
        store.save(state(epoch), epoch, step)
        newest = str(store.newest())
        assert newest.startswith(f"checkpoint_{epoch:04d}" + ("_" if step is None else f"-{step:08d}_"))
        found.append(newest)
    assert found == sorted(found)
    assert [path.name for path in sorted(store.folder.iterdir())] == found[-2:]


@pytest.mark.parametrize("damage", ["cut", "no manifest", "broken", "a file"])
def test_resuming_passes_over_checkpoints_that_are_damaged_or_unfinished(
    store: FolderCheckpoints, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in range(2):
        store.save(state(epoch), epoch)
    newest = store.folder / str(store.newest())
    match damage:
        case "cut":
            (newest / checkpoints.STATE).write_bytes(b"cut off")
        case "no manifest":
            (newest / checkpoints.MANIFEST).unlink()
        case "broken":
            (newest / checkpoints.STATE).write_bytes(b"")
            checkpoints.write_manifest(newest)
        case _:
            shutil.rmtree(newest)
            newest.write_text("")
    found = store.newest()
    assert found is not None and found.startswith("checkpoint_0000")
    assert caplog.text.count("the one before is used") == 1 and newest.name in caplog.text
    assert store.load(found)["model"]["w"].tolist() == [0, 0, 0]


def test_what_a_killed_attempt_left_goes_with_the_next_checkpoint(store: FolderCheckpoints) -> None:
    checkpoints.save(store.folder / "unfinished_checkpoint_0000_x", state(0))
    assert store.newest() is None
    store.save(state(0), 0)
    assert epochs(store) == ["checkpoint_0000"]


def test_a_checkpoint_that_differs_from_what_was_written_is_refused(
    store: FolderCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(folder: Path, state: dict[str, Any]) -> None:
        original(folder, state)
        with (folder / checkpoints.STATE).open("r+b") as file:
            file.truncate(10)

    original = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", losing)
    with pytest.raises(CuhsError, match="differs from what was written; check the disk"):
        store.save(state(0), 0)
    assert store.newest() is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CuhsError, match=r"cannot be written \(Not a directory\)"):
        FolderCheckpoints(tmp_path / "file").save(state(0), 0)


def test_the_environment_decides_where_checkpoints_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUHS_STORE", raising=False)
    assert checkpoint_store(tmp_path, "train-1") == FolderCheckpoints(tmp_path / "train-1")
    monkeypatch.setenv("CUHS_STORE", "s3://b/cuhs")
    found = checkpoint_store(tmp_path, "tune-1/trial-2")
    assert found == StoredCheckpoints("s3://b/cuhs/runs/tune-1/trial-2")
    assert pickle.loads(pickle.dumps(found)) == found


def test_what_is_damaged_takes_no_place_from_what_is_whole(store: FolderCheckpoints) -> None:
    for epoch in range(4):
        store.save(state(epoch), epoch)
    last = [path.name for path in sorted(store.folder.iterdir())]
    shutil.copytree(store.folder / last[0], store.folder / "checkpoint_0001_00000000")
    for name in last:
        (store.folder / name / checkpoints.STATE).write_bytes(b"cut off")
    assert store.newest() == "checkpoint_0001_00000000"
    store.save(state(2), 2)
    assert epochs(store) == ["checkpoint_0001", "checkpoint_0002"]
    assert str(store.newest()).startswith("checkpoint_0002")


class Bucket:
    """The object store's part that checkpoints use, in folders."""

    def __init__(self, url: str) -> None:
        self.url, self.folder = url, Path(url.removeprefix("s3:/"))

    def within(self, name: str) -> "Bucket":
        return Bucket(f"{self.url}/{name}")

    def children(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def push(self, source: Path) -> None:
        shutil.copytree(source, self.folder / "tree")

    def trees(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def delete(self) -> None:
        shutil.rmtree(self.folder)


class Cache:
    def __init__(self, store: Bucket) -> None:
        self.folder = store.folder

    @contextmanager
    def use(self, digest: str) -> Iterator[Path]:
        yield self.folder / digest


def test_in_the_object_store_too_a_broken_checkpoint_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint_stores, "ObjectStore", Bucket)
    monkeypatch.setattr(checkpoint_stores, "NodeCache", Cache)
    store = StoredCheckpoints(f"s3:/{tmp_path}/run")
    for epoch in range(2):
        store.save(state(epoch), epoch)
    _, broken = Bucket(store.url).children()
    (tmp_path / "run" / broken / "tree" / checkpoints.STATE).write_bytes(b"")
    checkpoints.write_manifest(tmp_path / "run" / broken / "tree")
    found = store.newest()
    assert found is not None and found.startswith("checkpoint_0000") and broken in caplog.text
    store.save(state(1), 1)
    names = Bucket(store.url).children()
    assert [name[:15] for name in names] == ["checkpoint_0000", "checkpoint_0001"] and broken not in names
