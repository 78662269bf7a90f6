"""Counts of a built dataset for ``dataset.json``, in the form of the paper's Table 1."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from cuhs.build.decode import Key
from cuhs.build.leaks import Leaks, Pair
from cuhs.build.splits import Row
from cuhs.data.shards import SPLITS
from cuhs.raw.head_shoulder_boxes import ORIGINS
from cuhs.raw.labels import COLOURS

Counts = dict[str, int]

# Of long lists, only this many entries are named.
NAMED = 20


def summarise(rows: list[Row], origins: Mapping[Key, str], leaks: Leaks, left_out: int) -> dict[str, Any]:
    """Count identities and images; identity counts exclude distractors and junk, image counts include them.

    Args:
        rows: the dataset.
        origins: origin of each row's head-shoulder box, if it has one.
        leaks: result of the checks.
        left_out: number of usable images without a role.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row.sample.source].append(row)
        for group in row.groups:
            groups[group].append(row)
    order = ["all", *COLOURS, *sorted(groups.keys() - {"all", *COLOURS})]
    return {
        "splits": _by_split(rows),
        "groups": {group: _by_split(groups[group]) for group in order if group in groups},
        "sources": {source: _by_split(held) for source, held in sorted(sources.items())},
        "colours": {colour: _count(row for row in rows if row.sample.colour == colour) for colour in COLOURS},
        "colour_origins": {source: _colour_origins(held) for source, held in sorted(sources.items())},
        "boxes": {split: _box_origins((row for row in rows if row.split == split), origins) for split in SPLITS},
        "cameras": {source: _cameras(held) for source, held in sorted(sources.items())},
        "distractors": sum(row.sample.distractor for row in rows),
        "junk": sum(row.sample.junk for row in rows),
        "shared_identities": _some(list(leaks.shared)),
        "near_duplicates": _some([_pair(pair) for pair in leaks.copies]),
        "closest_pairs": [_pair(pair) for pair in leaks.closest],
        "queries_without_match": _some([row.name for row in leaks.without_match]),
        "single_image_identities": _some(leaks.single),
        "left_out": left_out,
    }


def _by_split(rows: list[Row]) -> dict[str, Counts]:
    return {split: _count(row for row in rows if row.split == split) for split in SPLITS}


def _count(rows: Iterable[Row]) -> Counts:
    held = list(rows)
    return {"ids": len({row.sample.pid for row in held if row.sample.is_person}), "images": len(held)}


def _colour_origins(rows: list[Row]) -> Counts:
    """Count identities by the origin of their colour."""
    known = {row.sample.pid: row.sample.colour_origin or "none" for row in rows if row.sample.is_person}
    counted = Counter(known.values())
    return {origin: counted[origin] for origin in ("label", "classifier", "none")}


def _box_origins(rows: Iterable[Row], origins: Mapping[Key, str]) -> Counts:
    """Count images by the origin of their box."""
    counted = Counter(origins.get(row.key, "none") for row in rows)
    return {origin: counted[origin] for origin in (*ORIGINS, "none")}


def _cameras(rows: Iterable[Row]) -> int:
    """Count the cameras with an id."""
    return len({row.sample.camid for row in rows if row.sample.raw.camid is not None})


def _some(items: list[Any]) -> dict[str, Any]:
    return {"count": len(items), "first": items[:NAMED]}


def _pair(pair: Pair) -> dict[str, Any]:
    return {"train": pair.train.name, "test": pair.test.name, "bits": pair.bits}
