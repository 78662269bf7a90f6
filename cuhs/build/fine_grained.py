"""Protocols: they assign the images to evaluation groups.

A query of a group is ranked against the gallery rows of the same group.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from cuhs.build.config import GalleryShare
from cuhs.build.splits import Row, draw
from cuhs.errors import CuhsError
from cuhs.raw.identity_list import IdentityList
from cuhs.raw.labels import COLOURS

FINE = ("black", "white")


def benchmark(rows: list[Row]) -> list[Row]:
    """Keep all images, with a group for each colour among the queries.

    Raises:
        CuhsError: there is no query.
    """
    return _asked(_grouped_by_query(rows, COLOURS))


def fg_reid_v2(rows: list[Row]) -> list[Row]:
    """FG-reID V2 (section 5.2, Table 4): all training sets and galleries, but only queries in black and white.

    Raises:
        CuhsError: there is no query.
    """
    kept = [row for row in rows if row.split != "query" or row.sample.colour in FINE]
    return _asked(_grouped_by_query(kept, FINE))


def fg_reid(
    rows: list[Row],
    seed: int,
    other_share: float,
    gallery_share: GalleryShare = GalleryShare(),  # noqa: B008  (it is immutable)
) -> list[Row]:
    """FG-reID (section 4): a black and a white group, each with some people in other clothes.

    A group holds the people who wear its colour. In training and in testing, it also holds ``other_share`` as many
    people in other clothes. Its gallery has further people in other clothes, who are no query identities:
    ``gallery_share`` as many as query identities. The sources' distractors and junk are in the gallery, too.
    Images in no group are left out.

    The shares apply to each source separately, rounded to whole people, as far as it has people in other clothes.
    These are taken in the order of a hash, so a new identity changes the groups of at most a few others, all in
    its own source.

    Raises:
        CuhsError: there is no query.
    """
    people: dict[tuple[bool, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if row.sample.is_person:
            people[row.split == "train", row.sample.source][row.sample.colour].add(row.sample.pid)
    tested = [group for group in FINE if any(row.split == "query" and row.sample.colour == group for row in rows)]
    members: dict[tuple[bool, str], set[str]] = defaultdict(set)
    bystanders: dict[str, set[str]] = defaultdict(set)
    for (training, _), wearing in people.items():
        for group in FINE if training else tested:
            order = sorted(wearing["other"], key=lambda pid: (draw(seed, "other", group, pid), pid))
            joining = order[: round(other_share * len(wearing[group]))]
            members[training, group] |= wearing[group].union(joining)
            if not training:
                asked = len(wearing[group]) + len(joining)
                bystanders[group].update(order[len(joining) :][: round(getattr(gallery_share, group) * asked)])

    def groups(row: Row) -> tuple[str, ...]:
        if not row.sample.is_person:
            return tuple(tested)
        training, pid = row.split == "train", row.sample.pid
        return tuple(
            group
            for group in FINE
            if pid in members[training, group] or (row.split == "gallery" and pid in bystanders[group])
        )

    return _asked([replace(row, groups=("all", *groups(row))) for row in rows if groups(row)])


def listed_groups(rows: list[Row], listed: IdentityList) -> list[Row]:
    """Assign the groups of a user's list; junk and distractors are in the gallery of every group with a query.

    Raises:
        CuhsError: there is no query.
    """
    asked = sorted({group for row in rows if row.split == "query" for group in listed.groups[row.sample.pid]})

    def groups(row: Row) -> Iterable[str]:
        return listed.groups[row.sample.pid] if row.sample.is_person else asked

    return _asked([replace(row, groups=("all", *groups(row))) for row in rows])


def _grouped_by_query(rows: list[Row], colours: tuple[str, ...]) -> list[Row]:
    """Assign a group for each of ``colours`` that a query wears; train and gallery rows are in all of them."""
    worn = {row.sample.colour for row in rows if row.split == "query"}
    everywhere = ("all", *(colour for colour in colours if colour in worn))
    return [replace(row, groups=("all", row.sample.colour) if row.split == "query" else everywhere) for row in rows]


def _asked(rows: list[Row]) -> list[Row]:
    if not any(row.split == "query" for row in rows):
        raise CuhsError(
            "the dataset has no query image: data.test_share may be 0, or no test identity is labelled with a "
            "colour that data.protocol needs (data.sources.*.clothing)"
        )
    return rows
