"""A machine's cache of the trees that its workers read, each fetched once from the object store.

``CUHS_CACHE`` (by default ``~/.cache/cuhs``) holds::

    trees/DIGEST         the tree
    DIGEST.json          written last: what was found when all checksums were compared
    DIGEST.lock          locked while the tree is fetched, checked or removed
    DIGEST.use           locked, shared, by every process that reads the tree; its time is that of the last use
    decoded/             decoded training images (:mod:`cuhs.data.cache`)

The locks are the kernel's: they end with their process, however it ends.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from cuhs.documents import Document
from cuhs.errors import CuhsError
from cuhs.files import write_file
from pipelines.storage.object_store import ObjectStore
from pipelines.storage.transfer import OnProgress
from pipelines.storage.trees import check_digest, read_tree, remove

FOLDER, LIMIT_GB = "CUHS_CACHE", "CUHS_CACHE_GB"
DEFAULT_GB = 100.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Mark:
    """What was found when all checksums of a tree were compared.

    Attributes:
        checked: when, in seconds since 1970.
        files: as :func:`_seen` gives them.
        manifest: the tree's manifest.
    """

    checked: float
    files: dict[str, list[int]]
    manifest: str


_MARK = Document(_Mark, "a mark of this cache", "its tree is checked again")


def folder() -> Path:
    """This machine's cache: ``CUHS_CACHE`` or ``~/.cache/cuhs``."""
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "cuhs")


class NodeCache:
    """Trees of an object store on this machine.

    Args:
        store: where trees come from.
        root: the cache's folder; none: ``CUHS_CACHE`` or ``~/.cache/cuhs``.
        limit: its size in bytes. Above it, the least recently used trees are removed, but none that is in use. None:
            ``CUHS_CACHE_GB`` or 100 GB.

    Raises:
        CuhsError: the folder cannot be made, or the limit is not a number.
    """

    def __init__(self, store: ObjectStore, root: Path | None = None, limit: int | None = None) -> None:
        self.store = store
        self.root = root or folder()
        self.limit = _limit() if limit is None else limit
        self._trees = self.root / "trees"
        try:
            self._trees.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CuhsError(f"{self.root}: cannot be written ({error.strerror}); name another {FOLDER}") from error

    @contextmanager
    def use(self, digest: str, *, full: bool = True, progress: OnProgress | None = None) -> Iterator[Path]:
        """The path of a tree, which stays unchanged while the block runs; do not write to it.

        If several processes ask at once, one fetches and the others wait. Damaged files are fetched again.

        Args:
            digest: the tree's digest.
            full: compare all checksums (once for several processes that ask at once). If false, compare only sizes
                and times of change, which do not reveal damage from a failing disk.
            progress: as for :meth:`ObjectStore.push`.

        Raises:
            DamagedTree: ``digest`` is not a digest.
            CuhsError: the tree could not be fetched.
        """
        asked = time.time()
        tree = self._trees / check_digest(digest)
        with _locked(self._file(digest, "use"), fcntl.LOCK_SH) as held:
            os.utime(held)
            with _locked(self._file(digest, "lock"), fcntl.LOCK_EX):
                if not self._is_right(digest, asked if full else 0):
                    self._fill(digest, progress)
            yield tree

    def _is_right(self, digest: str, checked_since: float) -> bool:
        """Whether all checksums were compared since that time, and no file changed afterwards."""
        mark = self._mark(digest)
        return bool(mark and mark.checked >= checked_since and mark.files == _seen(self._trees / digest))

    def _fill(self, digest: str, progress: OnProgress | None) -> None:
        path, place = self._file(digest, "json"), self._trees / digest
        mark = self._mark(digest)
        # With its manifest at hand, a tree can be checked while the store is away.
        tree = read_tree(mark.manifest.encode(), digest) if mark else self.store.tree(digest)
        remove(path)
        if not place.exists():
            self._make_room(tree.size)
        self.store.fill(tree, place, progress)
        mark = _Mark(time.time(), _seen(place), tree.to_json().decode())
        try:
            write_file(path, json.dumps(asdict(mark)))
        except OSError as error:
            raise CuhsError(f"{path}: cannot be written ({error.strerror}); name another {FOLDER}") from error

    def _mark(self, digest: str) -> _Mark | None:
        """What the last complete check of all checksums wrote; none if there was none, or if it is damaged."""
        path = self._file(digest, "json")
        if not path.exists():
            return None
        try:
            mark = _MARK.read(path)
        except CuhsError as error:
            log.warning("%s", error)
            return None
        return mark if sha256(mark.manifest.encode()).hexdigest() == digest else None

    def _make_room(self, needed: int) -> None:
        """Remove the least recently used trees until ``needed`` bytes fit below the limit."""
        sizes = {path.name: sum(size for size, _ in _seen(path).values()) for path in self._trees.iterdir()}
        there = sum(sizes.values())
        for digest in sorted(sizes, key=self._last_use):
            if there + needed <= self.limit:
                return
            if self._removed(digest):
                there -= sizes[digest]
        if there + needed > self.limit:
            log.warning(
                "%s: %.1f GB where %s allows %.1f GB; all of it is in use",
                *(self.root, (there + needed) / 1e9, LIMIT_GB, self.limit / 1e9),
            )

    def _removed(self, digest: str) -> bool:
        with suppress(BlockingIOError), _locked(self._file(digest, "use"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            remove(self._file(digest, "json"))
            remove(self._trees / digest)
            return True
        return False

    def _last_use(self, digest: str) -> float:
        try:
            return self._file(digest, "use").stat().st_mtime
        except OSError:
            return 0.0

    def _file(self, digest: str, kind: str) -> Path:
        return self.root / f"{digest}.{kind}"


def _seen(root: Path) -> dict[str, list[int]]:
    """The size in bytes and the time of change in nanoseconds of every file of a tree."""
    seen = {}
    for path in [root, *sorted(root.rglob("*"))]:
        with suppress(FileNotFoundError):  # another process may be filling or removing it
            if path.is_file():
                status = path.stat()
                seen[path.relative_to(root).as_posix()] = [status.st_size, status.st_mtime_ns]
    return seen


def _limit() -> int:
    try:
        return int(float(os.environ.get(LIMIT_GB, DEFAULT_GB)) * 1e9)
    except ValueError as error:
        raise CuhsError(f"{LIMIT_GB}: {os.environ[LIMIT_GB]!r} is not a number of gigabytes") from error


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    """Hold a lock on a file, waiting for it unless ``how`` says not to; yields its descriptor."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise CuhsError(f"{path}: cannot be written ({error.strerror}); name another {FOLDER}") from error
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)
