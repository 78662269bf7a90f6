"""Checkpoints are whole or absent, and nothing in them runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cuhs.errors import CuhsError
from cuhs.training.checkpoint import DamagedCheckpoint, is_whole, load, save, write_manifest


@pytest.fixture
def state() -> dict[str, object]:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    history = [{"loss": 0.5, "lr": 3e-4}]
    return {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "history": history}


@pytest.fixture
def saved(tmp_path: Path, state: dict[str, object]) -> Path:
    save(tmp_path / "checkpoint", state)
    return tmp_path / "checkpoint"


def assert_damaged(folder: Path) -> None:
    assert not is_whole(folder)
    with pytest.raises(CuhsError, match="damaged checkpoint") as error:
        load(folder)
    assert str(error.value).startswith(str(folder)) and "\n" not in str(error.value)


def test_a_checkpoint_comes_back_as_it_was(saved: Path, state: dict[str, object]) -> None:
    found = load(saved)
    assert is_whole(saved) and found.keys() == state.keys()
    assert (found["epoch"], found["history"]) == (3, state["history"])
    assert all(torch.equal(found["model"][key], value) for key, value in state["model"].items())
    for key, moments in state["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][key][name], value) for name, value in moments.items())
    assert sorted(path.name for path in saved.iterdir()) == ["manifest.json", "state.pt"]


def test_the_manifest_lists_size_and_sha256(saved: Path) -> None:
    (entry,) = json.loads((saved / "manifest.json").read_text()).items()
    assert entry[0] == "state.pt" and entry[1]["bytes"] == (saved / "state.pt").stat().st_size
    assert len(entry[1]["sha256"]) == 64


def test_one_flipped_bit_is_damage(saved: Path) -> None:
    content = bytearray((saved / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (saved / "state.pt").write_bytes(content)
    assert_damaged(saved)


def test_a_cut_file_is_damage(saved: Path) -> None:
    content = (saved / "state.pt").read_bytes()
    (saved / "state.pt").write_bytes(content[:-1])
    assert_damaged(saved)


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_a_missing_file_is_damage(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert_damaged(saved)


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert_damaged(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text", ["", '{"state.pt": {"bytes"', "{}", "[]", "3", '{"state.pt": {}}', '{"state.pt": 1}', "[" * 100_000]
)
def test_a_broken_manifest_is_damage(saved: Path, text: str) -> None:
    (saved / "manifest.json").write_text(text)
    assert_damaged(saved)


def test_a_manifest_that_names_a_file_elsewhere_is_damage(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes((saved / "state.pt").read_bytes())
    files = json.loads((saved / "manifest.json").read_text())
    for name in ("../elsewhere", str(tmp_path / "elsewhere")):
        (saved / "manifest.json").write_text(json.dumps({**files, name: files["state.pt"]}))
        assert not is_whole(saved)


def test_a_manifest_that_was_being_written_does_not_spoil_the_next(saved: Path, state: dict[str, object]) -> None:
    (saved / "manifest.json.part").write_text("{")
    save(saved, state)
    assert is_whole(saved)


def test_every_file_of_the_folder_counts(saved: Path) -> None:
    (saved / "rank").mkdir()
    (saved / "rank" / "1.pt").write_bytes(b"more")
    write_manifest(saved)
    assert is_whole(saved)
    (saved / "rank" / "1.pt").write_bytes(b"mere")
    assert_damaged(saved)


class Touch:
    """What a malicious checkpoint would hold: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    save(tmp_path / "evil", {"model": Touch(tmp_path / "ran")})
    assert is_whole(tmp_path / "evil")
    with pytest.raises(CuhsError, match=r"state\.pt: holds more than tensors"):
        load(tmp_path / "evil")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"no checkpoint", None])
def test_a_broken_state_under_a_matching_manifest_is_damage(saved: Path, content: bytes | None) -> None:
    path = saved / "state.pt"
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    write_manifest(saved)
    assert is_whole(saved)
    with pytest.raises(DamagedCheckpoint, match=r"state\.pt: .*; delete ") as error:
        load(saved)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_state_that_is_no_mapping_is_damage(tmp_path: Path) -> None:
    save(tmp_path / "c", [1])  # type: ignore[arg-type]
    with pytest.raises(DamagedCheckpoint, match="holds no state of a training"):
        load(tmp_path / "c")


def test_only_regular_files_of_the_folder_count(saved: Path, tmp_path: Path) -> None:
    listed = json.loads((saved / "manifest.json").read_text())
    os.mkfifo(saved / "pipe")
    (saved / "zero").symlink_to("/dev/zero")
    (tmp_path / "elsewhere").write_bytes((saved / "state.pt").read_bytes())
    (saved / "link").symlink_to(tmp_path / "elsewhere")
    assert is_whole(saved)
    for name in ("pipe", "zero", "link"):
        (saved / "manifest.json").write_text(json.dumps(listed | {name: listed["state.pt"]}))
        assert not is_whole(saved)


def test_a_checkpoint_is_on_the_disk_before_its_manifest_completes_it(
    tmp_path: Path, state: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "c/manifest.json").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path / "c", state)
    assert synced[0] == ("state.pt", False) and synced[-1] == ("c", True)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    code = f"""
import resource, signal, torch
from pathlib import Path
from cuhs.errors import CuhsError
from cuhs.training.checkpoint import save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save(Path({str(tmp_path / "c")!r}), {{"w": torch.zeros(100_000)}})
except CuhsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    said = re.compile(rf"{tmp_path}/c: cannot be written \(.*\); the checkpoint before is kept\n")
    assert said.fullmatch(done.stdout), done
