"""Example queries of a group: the best, the median and the worst, with the gallery rows that they found."""

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
    """One gallery row in a query's ranked list.

    Attributes:
        rank: rank, from 1.
        hit: whether it shows the query's identity.
        pid: its identity.
        row: index in the gallery split.
        image: its picture.
    """

    rank: int
    hit: bool
    pid: str
    row: int
    image: Image.Image


@dataclass(frozen=True)
class Look:
    """Where one branch of the network looks, drawn on a query and on its first true match."""

    name: str
    query: Image.Image
    match: Image.Image


@dataclass(frozen=True)
class Example:
    """A query and its ranked list.

    Attributes:
        kind: ``best``, ``median`` or ``worst`` of its group.
        pid: identity of the query.
        name: file name of the query.
        row: index in the query split.
        ap: average precision, in [0, 1].
        image: picture of the query.
        found: the first gallery rows; the nearest true match is added at the end if none is among them.
        looks: one for each branch; empty if attention is not drawn.
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
    """Return the best, median and worst queries of a group, each with its first ``k`` gallery rows.

    Args:
        query: the query split.
        gallery: the gallery split.
        group: a result of :func:`.groups.evaluate_groups` on these splits.
        query_image: returns the image of a row of the query split.
        gallery_image: returns the image of a row of the gallery split.
        k: length of the lists; a nearest true match behind rank ``k`` is added with its rank.
        count: number of queries of each kind.

    Returns:
        The examples; empty if the group has no valid query.
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
    """Choose up to ``count`` best, median and worst valid queries by AP, no two of the same identity.

    Args:
        ranking: ranking of the queries.
        pids: (Q,) identities of the queries.
        count: number of queries of each kind; fewer when identities run out.

    Returns:
        Query indices under the keys ``best``, ``median`` and ``worst``.
    """
    order = np.flatnonzero(ranking.valid)
    order = order[np.argsort(-ranking.ap[order], kind="stable")]
    middle = (len(order) - 1) / 2
    central = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    taken = set()
    # Take turns, so that a group of few identities still shows every kind.
    for _ in range(count):
        for kind, candidates in (("best", order), ("worst", order[::-1]), ("median", central)):
            for i in candidates:
                if pids[i] not in taken:
                    taken.add(pids[i])
                    chosen[kind].append(int(i))
                    break
    return chosen
