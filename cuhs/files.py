"""Files that are whole: read with a bound, and written so that a power cut leaves them complete or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read_file(path: Path, most: int) -> bytes:
    """Return the content of a regular file; a pipe or a device would be read for ever.

    Args:
        path: the file, or a link to it.
        most: how many bytes it may have.

    Raises:
        OSError: it is missing or cannot be read, is no regular file, or is larger.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder" if path.is_dir() else "a pipe or device", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most / 2**20:g} MiB", str(path))
    return content


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file as :func:`written` does; text becomes UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with written(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a path to write to; if the block succeeds, that file is synced to disk and takes the place of ``path``.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
