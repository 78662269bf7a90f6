"""What an unfinished build has done already, so that the same command goes on from there.

Beside the dataset ``OUT`` lies ``OUT.unfinished`` until the build succeeds:

``CODE/checked.jsonl``  a line for each image that was decoded, by source and path. It counts for as long as the
                        file's content is the same: each is read and its digest compared, but not decoded again.
``CODE/KEY.parquet``    the shards that are filled, each named by a hash of its rows and their files' digests.
``dataset.html``        where the build was refused: the page that shows why.

CODE is a hash of the code that looks at images and fills shards, so another version starts afresh.
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self

import PIL
import pyarrow as pa

from cuhs.data import images, inspection, near_duplicates, packing, shards
from cuhs.data.inspection import Finding

FIELDS = [field.name for field in fields(Finding)]


class Scratch:
    """The folder of an unfinished build; a context manager that closes its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done = folder / _code_version()[:16]
        self._done.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Finding]] = {}
        self._read()
        self._file = (self._done / "checked.jsonl").open("a", encoding="utf-8")
        self._file.write("\n")  # a kill may have left half a line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _read(self) -> None:
        journal = self._done / "checked.jsonl"
        for line in journal.read_text(encoding="utf-8").split("\n") if journal.exists() else ():
            try:
                source, path, finding = json.loads(line)
            except ValueError:  # empty, or half a line
                continue
            self._known.setdefault(source, {})[path] = Finding(**finding)

    def known(self, source: str, paths: Iterable[str]) -> dict[str, Finding]:
        """Earlier findings of images of a source, by path."""
        known = self._known.get(source, {})
        return {path: known[path] for path in paths if path in known}

    def note(self, source: str, found: Iterable[tuple[str, Finding]]) -> None:
        """Write findings down."""
        known = self._known.get(source, {})
        for path, finding in found:
            if known.get(path) != finding:
                values = {name: getattr(finding, name) for name in FIELDS}
                self._file.write(json.dumps([source, path, values]) + "\n")
        self._file.flush()

    def shard(self, key: str) -> Path:
        """Where the shard of this key lies, or will."""
        return self._done / f"{key}.parquet"

    def keep(self, key: str, content: bytes) -> None:
        """Store a shard; it is there as a whole or not at all."""
        unfinished = self.shard(key).with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.shard(key))

    def sha256(self, key: str) -> str:
        """Of a stored shard, in hexadecimal digits."""
        with self.shard(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def arrange(self, keys: Mapping[str, str]) -> Path:
        """Move shards to their places in a folder of their own, by file → key, and return it."""
        finished = self.folder / "dataset"
        shutil.rmtree(finished, ignore_errors=True)
        for file, key in keys.items():
            (finished / file).parent.mkdir(parents=True, exist_ok=True)
            self.shard(key).rename(finished / file)
        return finished

    def discard(self) -> None:
        """Delete everything."""
        self._file.close()
        shutil.rmtree(self.folder)


def _code_version() -> str:
    """Hash of what findings and shards depend on besides the files."""
    digest = hashlib.sha256(f"{PIL.__version__} {pa.__version__}".encode())
    for module in (images, inspection, near_duplicates, packing, shards):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()
