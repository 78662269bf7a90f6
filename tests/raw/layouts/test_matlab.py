import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from cuhs.errors import CuhsError
from cuhs.raw.layouts import matlab

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
MATRIX, INT8, INT32, UINT32, DOUBLE, COMPRESSED = 14, 1, 5, 6, 9, 15
CELL, NUMBERS = 1, 6


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, rows: int, columns: int, name: bytes, content: bytes) -> bytes:
    flags, size = struct.pack("<II", kind, 0), struct.pack("<ii", rows, columns)
    return element(MATRIX, element(UINT32, flags) + element(INT32, size) + element(INT8, name) + content)


def nested_cells(depth: int) -> bytes:
    held = matrix(NUMBERS, 1, 1, b"", element(DOUBLE, struct.pack("<d", 1)))
    for _ in range(depth):
        held = matrix(CELL, 1, 1, b"", held)
    return held


def compressed(size: int) -> bytes:
    """Zeros, which take a thousandth of their size in the file."""
    packer = zlib.compressobj(1)
    data = matrix(NUMBERS, 1, size // 8, b"x", element(DOUBLE, b""))
    head = data[:-8] + struct.pack("<II", DOUBLE, size)
    head = struct.pack("<II", MATRIX, len(head) - 8 + size) + head[8:]
    packed = packer.compress(head)
    for _ in range(size // 2**20):
        packed += packer.compress(bytes(2**20))
    packed += packer.flush()
    return struct.pack("<II", COMPRESSED, len(packed)) + packed


def test_what_is_read_is_what_scipy_reads(tmp_path: Path) -> None:
    cells = np.empty((1, 2), dtype=object)
    cells[0, :] = ["a", np.arange(3)]
    scipy.io.savemat(tmp_path / "x.mat", {"cells": cells, "part": {"train": {"ids": [[1, 2]]}}})
    found = matlab.load(tmp_path / "x.mat", "split file")
    assert found["cells"][0, 0] == ["a"] and found["cells"][0, 1].tolist() == [[0, 1, 2]]
    assert found["part"][0, 0]["train"][0, 0]["ids"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: nested_cells(5_000), id="nested"),
        pytest.param(lambda: matrix(CELL, 2**30, 1, b"x", b""), id="a billion cells"),
        pytest.param(lambda: compressed(2**29), id="bomb"),
    ],
)
def test_a_file_that_ends_or_fills_its_reader_is_one_line(tmp_path: Path, content: Callable[[], bytes]) -> None:
    (tmp_path / "x.mat").write_bytes(HEADER + content())
    with pytest.raises(CuhsError, match=r"x\.mat: not a readable MATLAB file \(.+\); copy it again$") as refused:
        matlab.load(tmp_path / "x.mat", "split file")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_a_file_larger_than_any_published_one_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "x.mat").open("wb") as file:
        file.truncate(matlab.LARGEST + 1)
    with pytest.raises(CuhsError, match="67,108,865 bytes are too many for a split file"):
        matlab.load(tmp_path / "x.mat", "split file")


def test_a_web_page_that_was_downloaded_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_text("<!DOCTYPE html><html><head><title>Virus scan warning</title>" + "x" * 3000)
    with pytest.raises(CuhsError, match=r"x\.mat: a web page in place of a split file; download the file itself"):
        matlab.load(tmp_path / "x.mat", "split file")
