"""Shards of a dataset: planning which rows go where, and filling them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cuhs.build.decode import Finding, Key, digest_of
from cuhs.build.fine_grained import Row
from cuhs.data.shards import SPLITS, shard_content
from cuhs.errors import CuhsError
from cuhs.images import load
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import Box
from cuhs.raw.sources import raw_bytes

SHARD_ROWS = 2_000
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a shard, without its image.

    Attributes:
        row: the sample and its role.
        finding: finding of its image.
        box: head-shoulder box in [0, 1], or None.
        box_origin: one of :data:`cuhs.raw.head_shoulder_boxes.ORIGINS`, or None.
    """

    row: Row
    finding: Finding
    box: Box | None
    box_origin: str | None

    def labels(self) -> dict[str, Any]:
        """Return all columns except the image."""
        sample = self.row.sample
        return {
            "pid": sample.pid,
            "camid": sample.camid,
            "source": sample.source,
            "colour": sample.colour,
            "colour_origin": sample.colour_origin,
            "colour_confidence": sample.colour_confidence,
            "box": self.box,
            "box_origin": self.box_origin,
            "path": sample.raw.path,
            "groups": list(self.row.groups),
            "junk": sample.junk,
        }


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard to fill, for one worker.

    Attributes:
        file: ``SPLIT/SOURCE-00000.parquet``.
        key: hash of the content; shards of the same content have the same key, whatever their file name.
        files: the source, with absolute paths.
        items: rows of the shard.
    """

    file: str
    key: str
    files: Source
    items: list[Item]


def plan(
    rows: list[Row],
    findings: Mapping[Key, Finding],
    boxes: Mapping[Key, Box],
    origins: Mapping[Key, str],
    sources: Mapping[str, Source],
) -> list[PlannedShard]:
    """Cut each source's part of each split into shards of :data:`SHARD_ROWS` rows or :data:`SHARD_BYTES`.

    No shard holds rows of two sources, so a change in one source leaves the shards of the others unchanged.

    Args:
        rows: the dataset.
        findings: finding of each row's image.
        boxes: head-shoulder boxes in [0, 1].
        origins: origin of each box.
        sources: the sources by name, with absolute paths.
    """
    parts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.split, row.sample.source].append(row)
    return [
        PlannedShard(f"{split}/{source}-{number:05d}.parquet", _key(items), sources[source], items)
        for split, source in sorted(parts, key=lambda part: (SPLITS.index(part[0]), part[1]))
        for number, items in enumerate(
            _cut(
                Item(row, findings[row.key], boxes.get(row.key), origins.get(row.key)) for row in parts[split, source]
            )
        )
    ]


def _cut(items: Iterable[Item]) -> Iterator[list[Item]]:
    shard: list[Item] = []
    size = 0
    for item in items:
        shard.append(item)
        size += item.finding.size
        if len(shard) == SHARD_ROWS or size >= SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _key(items: list[Item]) -> str:
    content = [(item.labels(), item.finding.digest) for item in items]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def pack(shard: PlannedShard) -> bytes:
    """Fill a shard and return its Parquet file.

    Raises:
        CuhsError: an image changed after it was inspected.
    """
    return shard_content({"image": _image(shard.files, item), **item.labels()} for item in shard.items)


def _image(files: Source, item: Item) -> bytes:
    path = item.row.sample.raw.path
    try:
        data = raw_bytes(files, path)
        if digest_of(data) == item.finding.digest:
            return data if item.finding.plain else load(data).data
        reason = "other content"
    except OSError as error:
        reason = error.strerror or str(error)
    raise CuhsError(f"{files.folder / path}: changed while the dataset was built ({reason}); build it again")
