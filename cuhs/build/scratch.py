"""Results of an unfinished build, so that the same command continues from them.

The folder ``OUT.unfinished`` lies beside the dataset ``OUT`` until the build succeeds:

``CODE/checked.jsonl``  a line for each decoded image, by source and path. It is valid while the file's content is
                        the same: each file is read and its digest compared, but it is not decoded again.
``CODE/detected.jsonl`` a line for each batch of images that went through the key point detector, by a hash of the
                        detector and of the images' digests.
``CODE/KEY.parquet``    the filled shards; KEY is a hash of the rows and of their files' digests.
``dataset.html``        if the build was refused, the page that shows why.

CODE is a hash of the code that inspects images and fills shards, so another version of it starts afresh.
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import PIL
import pyarrow as pa

from cuhs import images
from cuhs.alone import alone
from cuhs.build import decode as inspection
from cuhs.build import near_duplicates, packing
from cuhs.build.decode import Finding
from cuhs.data import shards
from cuhs.raw.head_shoulder_boxes import Box

FIELDS = [field.name for field in fields(Finding)]


class Scratch:
    """The folder of an unfinished build; a context manager that closes its journals.

    Raises:
        CuhsError: another build is at work in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = ExitStack()
        self._held.enter_context(alone(folder, "build"))
        self._done = folder / _code_version()[:16]
        self._done.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Finding]] = {}
        for entry in _entries(self._done / "checked.jsonl"):
            with suppress(TypeError, ValueError):  # a damaged line costs its image another look
                source, path, finding = entry
                self._known.setdefault(source, {})[path] = Finding(**finding)
        self._detected: dict[str, list[Box | None]] = {}
        for entry in _entries(self._done / "detected.jsonl"):
            with suppress(TypeError, ValueError):
                key, boxes = entry
                self._detected[key] = boxes
        self._findings = _journal(self._done / "checked.jsonl")
        self._boxes = _journal(self._done / "detected.jsonl")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._findings.close()
        self._boxes.close()
        self._held.close()

    def known(self, source: str, paths: Iterable[str]) -> dict[str, Finding]:
        """Return earlier findings of a source's images, by path."""
        known = self._known.get(source, {})
        return {path: known[path] for path in paths if path in known}

    def note(self, source: str, found: Iterable[tuple[str, Finding]]) -> None:
        """Record findings in the journal."""
        known = self._known.get(source, {})
        for path, finding in found:
            if known.get(path) != finding:
                values = {name: getattr(finding, name) for name in FIELDS}
                self._findings.write(json.dumps([source, path, values]) + "\n")
        self._findings.flush()

    def detected(self, key: str) -> list[Box | None] | None:
        """Return the detector's boxes for a batch of images, or None if it has not seen the batch."""
        return self._detected.get(key)

    def note_detected(self, key: str, boxes: list[Box | None]) -> None:
        """Record a batch's boxes in the journal."""
        self._boxes.write(json.dumps([key, boxes]) + "\n")
        self._boxes.flush()

    def shard(self, key: str) -> Path:
        """Return where the shard with this key is, or will be."""
        return self._done / f"{key}.parquet"

    def keep(self, key: str, content: bytes) -> None:
        """Store a shard, completely or not at all."""
        unfinished = self.shard(key).with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.shard(key))

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of a stored shard, in hexadecimal digits."""
        with self.shard(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def arrange(self, keys: Mapping[str, str]) -> Path:
        """Move shards into a folder of their own, given as file → key, and return it."""
        finished = self.folder / "dataset"
        shutil.rmtree(finished, ignore_errors=True)
        for file, key in keys.items():
            (finished / file).parent.mkdir(parents=True, exist_ok=True)
            self.shard(key).rename(finished / file)
        return finished

    def discard(self) -> None:
        """Delete the folder."""
        self._close()
        shutil.rmtree(self.folder)


def _entries(journal: Path) -> Iterator[Any]:
    """Yield the entries of a journal."""
    for line in journal.read_text(encoding="utf-8").split("\n") if journal.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:  # an empty or incomplete line
            continue


def _journal(path: Path) -> TextIO:
    """Open a journal for appending."""
    file = path.open("a", encoding="utf-8")
    file.write("\n")  # ends a line that was left incomplete by a kill
    return file


def _code_version() -> str:
    """Return a hash of the code and versions that findings and shards depend on."""
    digest = hashlib.sha256(f"{PIL.__version__} {pa.__version__}".encode())
    for module in (images, inspection, near_duplicates, packing, shards):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()
