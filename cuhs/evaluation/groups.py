"""Measures of every evaluation group, with confidence intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cuhs.evaluation import intervals
from cuhs.evaluation.features import ALL, Features
from cuhs.evaluation.ranking import Ranking, rank

Metrics = dict[str, float | int | None]


@dataclass(frozen=True)
class Group:
    """Result of one evaluation group.

    Attributes:
        metrics: ``mAP``, ``mINP`` and ``rankK`` in percent; for each of them ``_low`` and ``_high``, the ends
            of its 95% interval, all rounded to 3 decimals. Also ``queries`` and ``identities`` in the means,
            ``queries_without_match``, and the number of ``gallery`` rows. Measures are None if no query is
            valid; intervals are None for fewer than two identities.
        query_rows: (Qg,) rows of the query split, in the order of ``ranking``.
        gallery_rows: (Gg,) rows of the gallery split that ``ranking`` indexes.
        ranking: ranking of the group's queries.
    """

    metrics: Metrics
    query_rows: np.ndarray
    gallery_rows: np.ndarray
    ranking: Ranking


def evaluate_groups(
    query: Features,
    gallery: Features,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    chunk_mb: float = 128,
    resamples: int = 10_000,
    seed: int = 0,
    ranker: Callable[..., Ranking] = rank,
) -> dict[str, Group]:
    """Rank each group's queries against the group's gallery rows.

    Args:
        query: the queries.
        gallery: the gallery; a distractor is in every group that its row names.
        ranks: values of K for the CMC.
        chunk_mb: see :func:`.ranking.rank`.
        resamples: see :func:`.intervals.interval`.
        seed: see :func:`.intervals.interval`.
        ranker: :func:`.ranking.rank` or :func:`.reranking.rank_reranked`.

    Returns:
        The group ``all``, then every group that a row names, sorted by name.

    Raises:
        CuhsError: the features cannot be ranked (see :func:`.ranking.rank`).
    """
    named = query.named_groups | gallery.named_groups
    results = {}
    for name in [ALL, *sorted(named - {ALL})]:
        query_rows, gallery_rows = query.rows_of(name), gallery.rows_of(name)
        queries, rows = query.take(query_rows), gallery.take(gallery_rows)
        ranking = ranker(queries, rows, chunk_mb=chunk_mb)
        metrics = measures(ranking, queries.pids, ranks, resamples, seed)
        results[name] = Group(metrics | {"gallery": len(rows)}, query_rows, gallery_rows, ranking)
    return results


def measures(ranking: Ranking, pids: np.ndarray, ranks: Sequence[int], resamples: int, seed: int) -> Metrics:
    """Return a ranking's measures with intervals, as in :class:`Group` but without the size of the gallery."""
    valid = ranking.valid
    per_query = [ranking.ap, ranking.inp, *(ranking.first_hit <= k for k in ranks)]
    values = 100.0 * np.stack([column[valid] for column in per_query], axis=1)
    low, high = intervals.interval(values, pids[valid], resamples=resamples, seed=seed)
    metrics: Metrics = {}
    for (name, value), lower, upper in zip(ranking.percentages(ranks).items(), low, high, strict=True):
        metrics |= {name: _rounded(value), f"{name}_low": _rounded(lower), f"{name}_high": _rounded(upper)}
    return metrics | {
        "queries": int(valid.sum()),
        "identities": len(np.unique(pids[valid])),
        "queries_without_match": len(ranking.without_match),
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
