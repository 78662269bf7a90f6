"""A cache of decoded images on this machine's disk, so that each is decoded once and not in every epoch.

``FOLDER/KEY.pixels`` holds the images of a split at one size, one after another, each behind its CRC-32. It fills
while images are read: an image whose checksum is wrong is not there yet, or is damaged, and is decoded and written.
KEY is a hash of all that decides the pixels. Every process that uses a file holds a shared lock on it. Files that
nobody uses are removed when another one is opened.

Files are read, not mapped: a mapped one that becomes too short would kill the process.
"""

import fcntl
import logging
import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import PIL
import pyarrow as pa

CHECKSUM, MIB = 4, 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cache:
    """Where decoded images are kept, and how much of them.

    Attributes:
        folder: a folder of this machine's disk, for this cache alone; made if it is missing.
        mib: most MiB of all its files together; 0 switches the cache off.
    """

    folder: Path
    mib: int


class DecodedImages:
    """The decoded images of a split at one size; any number of processes may read and write them.

    Args:
        path: the file; made if it is missing.
        height, width: size of the images.

    Raises:
        OSError: the file cannot be opened, or its file system has no locks.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        self.path, self.shape = path, (height, width, 3)
        self._length = _length(height, width)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        weakref.finalize(self, os.close, self._file)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def __reduce__(self) -> tuple[Any, ...]:
        return DecodedImages, (self.path, *self.shape[:2])

    def reserve(self, count: int) -> None:
        """Reserve the disk space of ``count`` images; those that are there stay.

        Raises:
            OSError: there is too little.
        """
        if count and hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(self._file, 0, count * self._length)

    def read(self, row: int) -> np.ndarray | None:
        """Return an image's pixels (H, W, 3) uint8, read-only, or None if they are not there or damaged."""
        with suppress(OSError):
            stored = os.pread(self._file, self._length, row * self._length)
            pixels = memoryview(stored)[CHECKSUM:]
            if len(stored) == self._length and crc32(pixels) == int.from_bytes(stored[:CHECKSUM], "little"):
                return np.frombuffer(pixels, np.uint8).reshape(self.shape)
        return None

    def write(self, row: int, pixels: np.ndarray) -> None:
        """Store an image's pixels (H, W, 3) uint8. If the disk fails, they are not there when they are read."""
        stored = pixels.tobytes()
        with suppress(OSError):
            os.pwrite(self._file, crc32(stored).to_bytes(CHECKSUM, "little") + stored, row * self._length)


def opened(cache: Cache, encoded: pa.ChunkedArray, height: int, width: int) -> DecodedImages | None:
    """Open the decoded images of a split, and remove those of other splits and sizes that nobody uses.

    Args:
        cache: where they are.
        encoded: (N,) the encoded images, binary.
        height, width: size of the decoded ones.

    Returns:
        The images; or None if they may not or cannot be kept, which the log says.
    """
    if not cache.mib:
        return None
    path = cache.folder / f"{_key(encoded, height, width)}.pixels"
    needed = len(encoded) * _length(height, width)
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        with (cache.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            free = cache.mib * MIB - _remove_unused(cache.folder, path)
            if needed <= free:
                return _reserved(path, len(encoded), height, width)
            path.unlink(missing_ok=True)
        log.warning(
            "compute.decoded_mib: %d decoded images need %.0f MiB, and of %d MiB %.0f are free; they are decoded in "
            "every epoch",
            *(len(encoded), needed / MIB, cache.mib, free / MIB),
        )
    except OSError as error:
        log.warning(
            "%s: cannot keep decoded images (%s); they are decoded in every epoch", cache.folder, error.strerror
        )
    return None


def _length(height: int, width: int) -> int:
    """The bytes of one image and its checksum."""
    return CHECKSUM + height * width * 3


def _reserved(path: Path, count: int, height: int, width: int) -> DecodedImages:
    """Open a file and reserve its disk space; what is in it stays."""
    images = DecodedImages(path, height, width)
    try:
        images.reserve(count)
    except OSError:
        path.unlink()
        raise
    return images


def _key(encoded: pa.ChunkedArray, height: int, width: int) -> str:
    digest = sha256(f"Pillow {PIL.__version__} {height}x{width}".encode())
    for image in encoded:
        content = image.as_buffer()
        digest.update(content.size.to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def _remove_unused(folder: Path, kept: Path) -> int:
    """Remove the files that no process uses, but for ``kept``; returns the bytes of those in use."""
    used = 0
    for path in folder.glob("*.pixels"):
        if path != kept:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                except BlockingIOError:
                    used += path.stat().st_size
    return used
