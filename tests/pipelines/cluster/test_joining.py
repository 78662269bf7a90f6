import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines.cluster import joining


def test_an_address_where_nobody_answers_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        began = time.monotonic()
        with pytest.raises(CuhsError, match=rf"^RAY_ADDRESS: nothing answers at {address} \(.*refused\); start the"):
            joining.start_ray()
        assert time.monotonic() - began < joining.ANSWER_S


@pytest.mark.parametrize("address", ["127.0.0.1:99999999", "ray://[::1]:1"])
def test_an_impossible_address_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(CuhsError, match=r"^RAY_ADDRESS: nothing answers at"):
        joining.start_ray()


def test_rays_folder_is_short_and_those_of_dead_processes_are_deleted(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    dead, alive, other = (short / f"cuhs-ray-{name}" for name in ("999999999-a", f"{os.getpid()}-b", "notes"))
    for folder in (dead, alive, other):
        folder.mkdir()
    new = joining._new_folder()
    try:
        assert new.parent == short
        assert [folder.exists() for folder in (dead, alive, other)] == [False, True, True]
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path_factory.mktemp("a" * 60)))
        monkeypatch.setattr(tempfile, "tempdir", "/tmp")
        far = joining._new_folder()
        assert far.parent == Path("/tmp")
        far.rmdir()
    finally:
        for folder in (new, alive, other, short):
            folder.rmdir()
