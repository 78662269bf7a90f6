"""Files are read with a bound, and written whole or not at all."""

import os
from pathlib import Path

import pytest

from cuhs.files import read_file, write_file, written


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(file, 5) == read_file(tmp_path / "link", 5) == b"12345"
    for name, most, said in (("file", 4, "MiB"), ("zero", 9, "device"), ("pipe", 9, "pipe"), (".", 9, "a folder")):
        with pytest.raises(OSError, match=said):
            read_file(tmp_path / name, most)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 5)


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), file.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(file, "new")
    assert [content for _, content in synced] == ["old", "new"]
    assert synced[0][0].parent == tmp_path and synced[1][0] == tmp_path
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(RuntimeError), written(file) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
