"""Threads that move the files of one tree to or from S3, with progress and retries; an error stops all of them."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self, TypeVar

from boto3.s3.transfer import ProgressCallbackInvoker, TransferConfig, create_transfer_manager

from cuhs.errors import CuhsError
from cuhs.files import sync
from pipelines.storage.s3_errors import DISK, S3_ERRORS, UNSAID, code_of, explained, is_passing
from pipelines.storage.trees import PART_SIZE, DamagedTree

FILES_AT_ONCE, PARTS_AT_ONCE = 4, 8
LEAST_TRIES = 3
LONGEST_PAUSE_S = 10.0

T = TypeVar("T")
R = TypeVar("R")
OnProgress = Callable[[int, int], None]
Moved = Callable[[int], None]

log = logging.getLogger(__name__)


class Transfer:
    """A pool of threads for one push or pull; leaving it with an error cancels what is in progress.

    Args:
        client: a boto3 client.
        url: ``s3://bucket/prefix``, for messages.
        patience_s: how long after its first failure work is retried; it is tried at least ``LEAST_TRIES`` times.
        total: bytes to move.
        progress: called with (done, total) bytes from several threads, but never by two at once.
    """

    def __init__(
        self, client: Any, url: str, patience_s: float, total: int = 0, progress: OnProgress | None = None
    ) -> None:
        self._client, self._url, self._patience_s = client, url, patience_s
        self._bucket, _, self._prefix = url.removeprefix("s3://").partition("/")
        self._total, self._progress, self._done = total, progress, 0
        self._over, self._lock, self._warned = threading.Event(), threading.Lock(), False

    def __enter__(self) -> Self:
        config = TransferConfig(
            multipart_threshold=PART_SIZE,
            multipart_chunksize=PART_SIZE,
            max_concurrency=PARTS_AT_ONCE,
            preferred_transfer_client="classic",
        )
        self._files = ThreadPoolExecutor(FILES_AT_ONCE)
        self._parts = create_transfer_manager(self._client, config)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind:
            self._over.set()
        self._parts.__exit__(kind, *error)  # after an error, cancels transfers and aborts uploads
        self._files.shutdown(cancel_futures=True)

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results of ``function`` for all items, in order; several run at once, and the first failure is raised.

        Raises:
            CuhsError: as for :meth:`insist`.
        """
        futures = [self._files.submit(function, item) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            if error := future.exception():
                raise error
        return [future.result() for future in futures]

    def insist(self, work: Callable[[Moved], T]) -> T:
        """The result of ``work``, which is retried after failures that may pass, and once after damage.

        Args:
            work: gets a function to call with the number of bytes moved.

        Raises:
            DamagedTree: it was damaged twice.
            CuhsError: it failed for good; one line says why.
        """
        failed_at, tries, damages = None, 0, 0
        while True:
            counter = _Counter(self._count)
            try:
                return work(counter)
            except DamagedTree as error:
                damages += 1
                if damages > 1:
                    raise
                log.warning("%s; once more", error)
            except (*S3_ERRORS, OSError) as error:
                if not is_passing(error):
                    raise self._told(error) from error
                tries += 1
                failed_at = failed_at or time.monotonic()
                if tries >= LEAST_TRIES and time.monotonic() - failed_at > self._patience_s:
                    raise self._told(error) from error
                self._warn(error)
            counter.back()
            if self._over.wait(min(2.0**tries / 4, LONGEST_PAUSE_S) * random.uniform(0.5, 1)):
                raise CancelledError

    def upload(self, path: Path, key: str, moved: Moved) -> None:
        """Send a file, a large one in parts; S3 checks each part's SHA-256. An unfinished upload is aborted."""
        extra = {"ChecksumAlgorithm": "SHA256"}
        self._parts.upload(str(path), self._bucket, key, extra, [ProgressCallbackInvoker(moved)]).result()

    def download(self, key: str, path: Path, size: int, moved: Moved) -> None:
        """Fetch an object of ``size`` bytes to the disk, a large one in parts.

        Raises:
            DamagedTree: it has more bytes, of which no more were fetched; they might fill the disk.
        """
        came = 0

        def count(more: int) -> None:
            nonlocal came
            came += more
            if came > size:
                raise DamagedTree(f"{self._url}: {key} has more than its {size} bytes; push its tree again")
            moved(more)

        self._parts.download(self._bucket, key, str(path), None, [ProgressCallbackInvoker(count)]).result()
        sync(path)

    def count(self, moved: int) -> None:
        """Count bytes as done that need not be moved."""
        self._count(moved)

    def _count(self, moved: int) -> None:
        if self._over.is_set():
            raise CancelledError
        with self._lock:
            self._done += moved
            if self._progress:
                self._progress(self._done, self._total)

    def _warn(self, error: BaseException) -> None:
        with self._lock:
            if not self._warned:
                log.warning("%s; trying again for %.0f s", self._told(error), self._patience_s)
            self._warned = True

    def _told(self, error: BaseException) -> CuhsError:
        if isinstance(error, OSError) and not is_passing(error):
            place = error.filename or self._url
            if error.errno in DISK:
                return CuhsError(f"{place}: the disk is full; make room and run the command again")
            return CuhsError(f"{place}: cannot be read or written ({error.strerror or error})")
        if code_of(error) in UNSAID:
            try:
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            except S3_ERRORS as said:
                error = said
        return explained(error, self._url, self._client.meta.endpoint_url)


class _Counter:
    """Counts the bytes of one try, to subtract them when it fails."""

    def __init__(self, count: Moved) -> None:
        self._count, self._moved = count, 0

    def __call__(self, moved: int) -> None:
        self._moved += moved
        self._count(moved)

    def back(self) -> None:
        self._count(-self._moved)
