"""Queries worth looking at: the best, the middle and the worst of a group, with what they found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import Group
from cuhs.evaluation.ranking import Ranking, top_k

ImageOf = Callable[[int], Image.Image]


@dataclass(frozen=True)
class Found:
    """One gallery row in a query's list.

    Attributes:
        rank: 1-based place.
        hit: whether it shows the query's identity.
        pid: its identity.
        row: of the gallery split.
        image: its picture.
    """

    rank: int
    hit: bool
    pid: str
    row: int
    image: Image.Image


@dataclass(frozen=True)
class Look:
    """What one branch of the network looks at in a query and in its first true match."""

    name: str
    query: Image.Image
    match: Image.Image


@dataclass(frozen=True)
class Example:
    """A query and what it found.

    Attributes:
        kind: ``best``, ``median`` or ``worst`` of its group.
        pid: the query's identity.
        name: the query's file.
        row: of the query split.
        ap: average precision, a share.
        image: its picture.
        found: the first gallery rows, and at the end the nearest true match where none is among them.
        looks: one of each branch; empty where nothing explains the network.
    """

    kind: str
    pid: str
    name: str
    row: int
    ap: float
    image: Image.Image
    found: list[Found]
    looks: list[Look] = field(default_factory=list)

    @property
    def match(self) -> Found:
        """The nearest true match."""
        return next(found for found in self.found if found.hit)


def examples(
    query: Features,
    gallery: Features,
    group: Group,
    query_image: ImageOf,
    gallery_image: ImageOf,
    *,
    k: int = 10,
    count: int = 2,
) -> list[Example]:
    """Best, median and worst queries of a group, each with its first ``k`` gallery rows.

    Args:
        query: the query split.
        gallery: the gallery split.
        group: one result of :func:`.groups.evaluate_groups` on these splits.
        query_image: the image of a row of the query split.
        gallery_image: the image of a row of the gallery split.
        k: length of the lists; a true match further behind is added with its rank.
        count: queries of each kind.

    Returns:
        The examples, none when the group has no valid query.
    """
    queries, rows, ranking = query.take(group.query_rows), gallery.take(group.gallery_rows), group.ranking
    chosen = [(kind, i) for kind, places in choose(ranking, queries.pids, count).items() for i in places]
    if not chosen:
        return []
    shown = queries.take(np.array([i for _, i in chosen]))
    nearest, _ = top_k(shown, rows, k)
    result = []
    for (kind, i), places in zip(chosen, nearest, strict=True):
        pid = queries.pids[i]
        ranked = [(rank, int(j)) for rank, j in enumerate(places, 1) if j >= 0]
        if ranking.first_hit[i] > len(ranked):
            ranked.append((int(ranking.first_hit[i]), int(ranking.first_match[i])))
        found = [
            Found(rank, bool(rows.pids[j] == pid), str(rows.pids[j]), row, gallery_image(row))
            for rank, j in ranked
            for row in [int(group.gallery_rows[j])]
        ]
        row = int(group.query_rows[i])
        result.append(Example(kind, str(pid), query.name(row), row, float(ranking.ap[i]), query_image(row), found))
    return result


def choose(ranking: Ranking, pids: Sequence | np.ndarray, count: int = 2) -> dict[str, list[int]]:
    """Up to ``count`` best, median and worst valid queries by AP, each of another identity.

    Args:
        ranking: of the queries.
        pids: (Q,) the queries' identities.
        count: queries of each kind; fewer where identities run out.

    Returns:
        ``best``, ``median`` and ``worst``: indices of queries.
    """
    order = np.flatnonzero(ranking.valid)
    order = order[np.argsort(-ranking.ap[order], kind="stable")]
    middle = (len(order) - 1) / 2
    central = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    taken = set()
    # Turn by turn, so that a group of few identities shows some of each kind.
    for _ in range(count):
        for kind, candidates in (("best", order), ("worst", order[::-1]), ("median", central)):
            for i in candidates:
                if pids[i] not in taken:
                    taken.add(pids[i])
                    chosen[kind].append(int(i))
                    break
    return chosen
