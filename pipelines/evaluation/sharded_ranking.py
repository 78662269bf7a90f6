"""Ranks a gallery that is larger than a machine's memory, on Ray.

Every worker must see the files under the same path. Each holds the queries and a few thousand rows at a time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuhs.errors import CuhsError
from cuhs.evaluation.counting import Matches
from cuhs.evaluation.features import ALL, Features
from cuhs.evaluation.ranking import Ranking
from cuhs.evaluation.sharding import count_rows, find_matches
from pipelines.base.console import progress
from pipelines.cluster.joining import start_ray
from pipelines.evaluation import feature_files

# Rows of a file that a task holds at a time, in both passes: 128 MiB at 2048 dimensions.
ROWS = 16_384


def rank_files(query: Path, gallery: Sequence[Path], *, rows: int = ROWS) -> Ranking:
    """Rank all queries against all rows of the gallery's files, with one Ray task for each file and pass.

    Args:
        query: a Parquet file; its junk rows are left out.
        gallery: Parquet files. :attr:`.Ranking.first_match` counts their rows consecutively in this order.
        rows: how many rows of a file a task holds at a time.

    Raises:
        CuhsError: a file is unreadable, or its features cannot be ranked.
    """
    import ray

    start_ray()
    ends = np.cumsum([feature_files.count(file) for file in gallery]).tolist()
    queries, _ = _without_junk(feature_files.read_parquet(query))
    asked = ray.put(queries)
    find, count = ray.remote(_find), ray.remote(_count)
    places = list(zip(gallery, [0, *ends], strict=False))
    found = _results([find.remote(asked, file, first, rows) for file, first in places], "true matches")
    matches = Matches.joined(list(found))
    shared = ray.put(matches)
    before = np.zeros(len(matches), np.int64)
    for counts in _results([count.remote(asked, file, first, rows, shared) for file, first in places], "ranks"):
        before += counts
    return Ranking.of(len(queries), matches, before)


def _find(queries: Features, file: Path, first: int, rows: int) -> Matches:
    return Matches.joined([find_matches(queries, part, places) for part, places in _parts(file, first, rows)])


def _count(queries: Features, file: Path, first: int, rows: int, matches: Matches) -> np.ndarray:
    before = np.zeros(len(matches), np.int64)
    for part, _ in _parts(file, first, rows):
        before += count_rows(queries, part, matches)
    return before


def _parts(file: Path, first: int, rows: int) -> Iterator[tuple[Features, np.ndarray]]:
    """A file's rows without junk, ``rows`` at a time, with their numbers counted from ``first``."""
    for part in feature_files.batches(file, rows):
        kept, places = _without_junk(part)
        yield kept, first + places
        first += len(part)


def _without_junk(part: Features) -> tuple[Features, np.ndarray]:
    rows = part.rows_of(ALL)
    return part.take(rows), rows


def _results(tasks: list[Any], what: str) -> Iterator[Any]:
    """The results of tasks, in the order in which they end."""
    import ray

    with progress() as bar:
        shown = bar.add_task(what, total=len(tasks))
        while tasks:
            (done,), tasks = ray.wait(tasks)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, CuhsError):
                    raise error.cause from error
                raise
            bar.advance(shown)
