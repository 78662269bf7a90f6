"""Decoded images that are kept: the same pixels, whole, within their bounds, and no older ones beside them."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from cuhs.data import cache as cache_module
from cuhs.data import dataset
from cuhs.data.augment import Augmentation
from cuhs.data.cache import Cache
from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader, batches
from cuhs.data.sampler import IdentitySampler
from cuhs.errors import CuhsError

# Bytes of an image of 64×32 and its checksum.
LENGTH = 64 * 32 * 3 + 4


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "decoded", 1)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that was decoded in this process."""
    found: list[bytes] = []
    decode = dataset.decode

    def noted(encoded: bytes, height: int, width: int) -> np.ndarray:
        found.append(encoded)
        return decode(encoded, height, width)

    monkeypatch.setattr(dataset, "decode", noted)
    return found


def train(root: Path, cache: Cache | None, size: tuple[int, int] = (64, 32)) -> PersonImages:
    return PersonImages(root, "train", *size, cache=cache)


def pixels(images: PersonImages) -> np.ndarray:
    return np.stack([images[i][0] for i in range(len(images))])


def files(cache: Cache) -> list[Path]:
    return sorted(cache.folder.glob("*.pixels"))


def test_each_image_is_decoded_once_and_its_pixels_stay_the_same(
    tiny_dataset: Path, cache: Cache, decoded: list[bytes]
) -> None:
    expected = pixels(train(tiny_dataset, None))
    decoded.clear()
    images = train(tiny_dataset, cache)
    for _ in range(3):
        np.testing.assert_array_equal(pixels(images), expected)
    np.testing.assert_array_equal(pixels(train(tiny_dataset, cache)), expected)  # the next training
    assert len(decoded) == len(images) == 24
    assert files(cache)[0].stat().st_size == 24 * LENGTH


def test_loader_processes_share_it_and_batches_are_those_without(
    tiny_dataset: Path, cache: Cache, decoded: list[bytes]
) -> None:
    augmentation = Augmentation(pad=10, jitter=0.2, erasing=0.5)
    plain = PersonImages(tiny_dataset, "train", 64, 32, augmentation)
    kept = PersonImages(tiny_dataset, "train", 64, 32, augmentation, cache)
    sampler = IdentitySampler(plain.labels, 3, 2, seed=0)
    expected, there = Loader(plain, sampler, 0), Loader(kept, sampler, 2)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for a, b in zip(expected, there, strict=True):
            assert torch.equal(a.pixels, b.pixels) and torch.equal(a.changes, b.changes)
    list(Loader(kept, batches(24, 5), 2))
    decoded.clear()
    assert pixels(kept).shape == (24, 64, 32, 3) and decoded == []


def test_rows_that_are_taken_find_their_own_pixels(tiny_dataset: Path, cache: Cache, decoded: list[bytes]) -> None:
    images = train(tiny_dataset, cache)
    expected = pixels(images)
    decoded.clear()
    rows = np.array([20, 3, 11])
    np.testing.assert_array_equal(pixels(images.take(rows)), expected[rows])
    np.testing.assert_array_equal(pixels(images.take(rows).take(np.array([2, 0]))), expected[[11, 20]])
    assert decoded == []


@pytest.mark.parametrize("at", [5 * LENGTH, 5 * LENGTH + 4, 6 * LENGTH - 1], ids=["checksum", "first", "last"])
def test_a_damaged_image_is_noticed_and_made_again(
    at: int, tiny_dataset: Path, cache: Cache, decoded: list[bytes]
) -> None:
    images = train(tiny_dataset, cache)
    expected = pixels(images)
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    decoded.clear()
    for _ in range(2):
        np.testing.assert_array_equal(pixels(images), expected)
    assert decoded == [images.encoded(5)]


@pytest.mark.parametrize("again", [True, False], ids=["opened again", "while it is used"])
def test_what_a_short_file_lacks_is_made_again(
    again: bool, tiny_dataset: Path, cache: Cache, decoded: list[bytes]
) -> None:
    images = train(tiny_dataset, cache)
    expected = pixels(images)
    os.truncate(files(cache)[0], 20 * LENGTH + 100)
    decoded.clear()
    if again:
        images = train(tiny_dataset, cache)
    for _ in range(2):
        np.testing.assert_array_equal(pixels(images), expected)
    assert len(decoded) == 4 and files(cache)[0].stat().st_size == 24 * LENGTH


def test_a_lost_file_is_as_if_it_were_empty(tiny_dataset: Path, cache: Cache, decoded: list[bytes]) -> None:
    expected = pixels(train(tiny_dataset, cache))
    files(cache)[0].unlink()
    np.testing.assert_array_equal(pixels(train(tiny_dataset, cache)), expected)
    assert len(decoded) == 48


def test_other_sizes_and_versions_have_their_own_and_old_ones_go(tiny_dataset: Path, cache: Cache) -> None:
    images = train(tiny_dataset, cache)
    pixels(images)
    first = files(cache)
    other = train(tiny_dataset, cache, (32, 16))
    assert pixels(other).shape == (24, 32, 16, 3)
    assert len(files(cache)) == 2  # the first is in use
    del images
    changed = PersonImages(tiny_dataset, "query", 32, 16, cache=cache)
    assert first[0] not in files(cache) and len(files(cache)) == 2
    del other, changed
    again = train(tiny_dataset, cache)
    assert files(cache) == first and again.decoded is not None


def test_other_content_is_another_version(tiny_dataset: Path, cache: Cache) -> None:
    images = train(tiny_dataset, cache)
    column = images.table["image"]
    keys = {
        cache_module._key(made, 64, 32)
        for made in (column, column.take(pa.array([4, 0, *range(1, 4), *range(5, 24)])), column.slice(1))
    }
    assert len(keys) == 3
    # Not how the rows are cut into shards.
    assert cache_module._key(column.combine_chunks(), 64, 32) == files(cache)[0].stem


@pytest.mark.parametrize("used", [0, 1_000_000])
def test_too_many_images_are_decoded_as_without_and_the_log_says_so_once(
    used: int, tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path / "decoded", 1)
    others = train(tiny_dataset, cache) if used else None
    big = train(tiny_dataset, cache, (120, 120) if used else (192, 96))
    assert big.decoded is None and len(files(cache)) == (1 if used else 0)
    assert pixels(big).shape[0] == 24
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("compute.decoded_mib: 24 decoded images need 1 MiB, and of 1 MiB ")
    assert "are free; they are decoded in every epoch" in line
    assert others is None or others.decoded is not None


def test_a_full_disk_is_said_once_and_nothing_is_left(
    tiny_dataset: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    images = train(tiny_dataset, cache)
    assert pixels(images).shape == (24, 64, 32, 3) and files(cache) == []
    assert [record.message for record in caplog.records] == [
        f"{cache.folder}: cannot keep decoded images (No space left on device); they are decoded in every epoch"
    ]


def test_so_is_a_folder_that_cannot_be_made(
    tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    images = train(tiny_dataset, Cache(tmp_path / "file" / "decoded", 1))
    assert images.decoded is None and pixels(images).shape == (24, 64, 32, 3)
    assert "cannot keep decoded images (Not a directory)" in caplog.text


def test_a_disk_that_fails_later_costs_only_time(
    tiny_dataset: Path, cache: Cache, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    images, expected = train(tiny_dataset, cache), pixels(train(tiny_dataset, None))
    decoded.clear()
    monkeypatch.setattr(os, "pread", failing)
    monkeypatch.setattr(os, "pwrite", failing)
    for _ in range(2):
        np.testing.assert_array_equal(pixels(images), expected)
    assert len(decoded) == 48


def test_zero_keeps_nothing(tiny_dataset: Path, tmp_path: Path) -> None:
    images = train(tiny_dataset, Cache(tmp_path / "decoded", 0))
    assert images.decoded is None and pixels(images).shape[0] == 24 and not (tmp_path / "decoded").exists()


def test_a_broken_image_is_the_same_line(tiny_dataset: Path, cache: Cache) -> None:
    lines = []
    for kept in (None, cache):
        images = train(tiny_dataset, kept)
        place = images.table.schema.get_field_index("image")
        broken = pa.array([b"\xff\xd8\xff\xe0"] * len(images), pa.binary())
        images.table = images.table.set_column(place, "image", broken)
        with pytest.raises(CuhsError, match="cannot be decoded") as error:
            images[3]
        lines.append(str(error.value))
    assert lines[0] == lines[1] and images.paths[3] in lines[0]
