"""Counting what a build has placed: the figures of ``dataset.json``, in the form of the paper's Table 1."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from cuhs.data.clothing import COLOURS
from cuhs.data.fine_grained import Row, queries_without_match
from cuhs.data.head_shoulder_boxes import Box
from cuhs.data.shards import SPLITS

Counts = dict[str, int]

NAMED_QUERIES = 20


def summarise(rows: list[Row], boxes: dict[tuple[str, str], Box], left_out: int) -> dict[str, Any]:
    """Counts of ids and images; ids leave out distractors and junk, images count them.

    Args:
        rows: the dataset.
        boxes: (source, path) → head-shoulder box.
        left_out: usable images the protocol gave no role.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row.sample.source].append(row)
        for group in row.groups:
            groups[group].append(row)
    lonely = queries_without_match(rows)
    return {
        "splits": _by_split(rows),
        "groups": {group: _by_split(groups[group]) for group in ("all", *COLOURS) if group in groups},
        "sources": {source: _by_split(held) for source, held in sorted(sources.items())},
        "colours": {colour: _count(row for row in rows if row.sample.colour == colour) for colour in COLOURS},
        "boxes": {split: _box_counts((row for row in rows if row.split == split), boxes) for split in SPLITS},
        "cameras": {source: len({row.sample.camid for row in held}) for source, held in sorted(sources.items())},
        "distractors": sum(row.sample.distractor for row in rows),
        "junk": sum(row.sample.junk for row in rows),
        "queries_without_match": {
            "count": len(lonely),
            "first": [f"{row.sample.source}/{row.sample.raw.path}" for row in lonely[:NAMED_QUERIES]],
        },
        "left_out": left_out,
    }


def _by_split(rows: list[Row]) -> dict[str, Counts]:
    return {split: _count(row for row in rows if row.split == split) for split in SPLITS}


def _count(rows: Iterable[Row]) -> Counts:
    held = list(rows)
    return {"ids": len({row.sample.pid for row in held if row.sample.is_person}), "images": len(held)}


def _box_counts(rows: Iterable[Row], boxes: dict[tuple[str, str], Box]) -> Counts:
    has_box = [(row.sample.source, row.sample.raw.path) in boxes for row in rows]
    return {"annotation": sum(has_box), "none": len(has_box) - sum(has_box)}
