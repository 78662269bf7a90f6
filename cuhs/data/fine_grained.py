"""Protocols: which images train, query and fill the gallery, and in which groups they are ranked.

A query of a group is ranked against the gallery rows of that group. Every choice made here for an identity or
an image is a hash of the seed and its own name held against a share, so one more identity leaves the others
in place.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cuhs.data.clothing import COLOURS
from cuhs.data.records import Sample, Split
from cuhs.errors import CuhsError

FINE = ("black", "white")


@dataclass(frozen=True)
class Row:
    """A sample with the role a protocol gives it.

    Attributes:
        sample: the image.
        split: ``train``, ``query`` or ``gallery``.
        groups: the groups it takes part in, ``all`` first.
    """

    sample: Sample
    split: Split
    groups: tuple[str, ...]


def benchmark(samples: list[Sample], seed: int, test_share: float) -> list[Row]:
    """Published splits as they are; all images, with a group for each colour among the queries.

    A source that publishes no split is divided by identity: ``test_share`` of them are for testing, and each
    of these gives one query image per camera.

    Raises:
        CuhsError: an identity trains and tests, or nobody queries.
    """
    rows = _with_roles(samples, seed, test_share)
    return _checked(_grouped_by_query(rows, COLOURS))


def fg_reid_v2(samples: list[Sample], seed: int, test_share: float) -> list[Row]:
    """FG-reID V2 (section 5.2, Table 4): all training sets and galleries, queries in black and white only.

    Sources without a training set are divided by identity, with ``test_share`` of them for testing.

    Raises:
        CuhsError: an identity trains and tests, or nobody queries.
    """
    rows = _with_roles(_with_training_sets(samples, seed, test_share), seed, test_share)
    kept = [row for row in rows if row.split != "query" or row.sample.colour in FINE]
    return _checked(_grouped_by_query(kept, FINE))


def fg_reid(samples: list[Sample], seed: int, test_share: float, other_share: float) -> list[Row]:
    """FG-reID (section 4): a black and a white group, each with some people in other clothes.

    A group holds the people wearing its colour and, for training and for testing, ``other_share`` as many
    people in other clothes (in expectation). Its gallery holds as distractors all other people in other
    clothes, and the sources' own distractors and junk. Images in neither group are left out.

    Sources without a training set are divided by identity, with ``test_share`` of them for testing.

    Raises:
        CuhsError: an identity trains and tests, or nobody queries.
    """
    rows = _with_roles(_with_training_sets(samples, seed, test_share), seed, test_share)
    tested = [group for group in FINE if any(row.split == "query" and row.sample.colour == group for row in rows)]
    members = {(group, True): _members(rows, group, True) for group in FINE}
    members |= {(group, False): _members(rows, group, False) for group in tested}
    others = {training: _members(rows, "other", training) for training in (True, False)}
    added = {
        (group, training): {
            pid
            for pid in others[training]
            if _draw(seed, "other", group, pid) * len(others[training]) < other_share * len(people)
        }
        for (group, training), people in members.items()
    }

    def groups(row: Row) -> tuple[str, ...]:
        training = row.split == "train"
        if row.split == "gallery" and row.sample.colour not in FINE:
            return tuple(tested)
        return tuple(
            group
            for group in (FINE if training else tested)
            if row.sample.pid in members[group, training] | added[group, training]
        )

    grouped = [replace(row, groups=("all", *groups(row))) for row in rows if groups(row)]
    return _checked(grouped)


def queries_without_match(rows: Iterable[Row]) -> list[Row]:
    """Queries that no gallery row of some group of theirs shows in another camera; ranking skips them."""
    cameras: dict[tuple[str, str], set[str]] = defaultdict(set)
    queries = []
    for row in rows:
        if row.split == "query":
            queries.append(row)
        elif row.split == "gallery" and row.sample.is_person:
            for group in row.groups:
                cameras[group, row.sample.pid].add(row.sample.camid)
    return [
        row
        for row in queries
        if any(not cameras.get((group, row.sample.pid), set()) - {row.sample.camid} for group in row.groups)
    ]


def _with_roles(samples: list[Sample], seed: int, test_share: float) -> list[Row]:
    """Give every sample a role: the published one, or one drawn where none is published."""
    rows = [Row(sample, sample.raw.split, ()) for sample in samples if sample.raw.split]
    open_tests: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.raw.split is None:
            if _is_test(sample, seed, test_share):
                open_tests[sample.pid].append(sample)
            else:
                rows.append(Row(sample, "train", ()))
    for images in open_tests.values():
        queries = _one_per_camera(images, seed)
        rows.extend(Row(sample, "query" if sample in queries else "gallery", ()) for sample in images)
    return sorted(rows, key=lambda row: (row.sample.source, row.sample.raw.path))


def _with_training_sets(samples: list[Sample], seed: int, test_share: float) -> list[Sample]:
    """Sources published for testing only lend all images of their training identities to the training set."""
    trained = {sample.source for sample in samples if sample.raw.split == "train"}

    def lent(sample: Sample) -> bool:
        published = sample.raw.split is not None and sample.source not in trained
        return published and sample.is_person and not _is_test(sample, seed, test_share)

    return [replace(sample, raw=replace(sample.raw, split="train")) if lent(sample) else sample for sample in samples]


def _one_per_camera(images: list[Sample], seed: int) -> set[Sample]:
    """One image for each camera that has several, so that each camera keeps a gallery image."""
    by_camera: dict[str, list[Sample]] = defaultdict(list)
    for sample in images:
        by_camera[sample.camid].append(sample)
    several = [held for held in by_camera.values() if len(held) > 1] or [images]
    return {min(held, key=lambda sample: _draw(seed, "query", sample.source, sample.raw.path)) for held in several}


def _grouped_by_query(rows: list[Row], colours: tuple[str, ...]) -> list[Row]:
    """A group for each of ``colours`` that a query wears; train and gallery rows are in all of them."""
    worn = {row.sample.colour for row in rows if row.split == "query"}
    everywhere = ("all", *(colour for colour in colours if colour in worn))
    return [replace(row, groups=("all", row.sample.colour) if row.split == "query" else everywhere) for row in rows]


def _members(rows: list[Row], colour: str, training: bool) -> set[str]:
    return {
        row.sample.pid
        for row in rows
        if row.sample.is_person and row.sample.colour == colour and (row.split == "train") == training
    }


def _checked(rows: list[Row]) -> list[Row]:
    people: dict[str, set[str]] = {"train": set(), "query": set(), "gallery": set()}
    for row in rows:
        if row.sample.is_person:
            people[row.split].add(row.sample.pid)
    both = sorted(people["train"] & (people["query"] | people["gallery"]))
    if both:
        raise CuhsError(
            f"{len(both)} identities are in both training and testing, such as {both[0]}; mend the source's split"
        )
    if not people["query"]:
        raise CuhsError(
            "the dataset has no query image: data.test_share may be 0, or no identity that tests is labelled "
            "in the colours that data.protocol asks for (data.sources.*.clothing)"
        )
    return rows


def _is_test(sample: Sample, seed: int, test_share: float) -> bool:
    return _draw(seed, "test", sample.pid) < test_share


def _draw(seed: int, *name: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the name."""
    digest = hashlib.sha256("/".join((str(seed), *name)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
