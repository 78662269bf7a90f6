"""Measures of slices of the data: by camera pair, source, occlusion, box, or any other label of rows.

The tables have the form of :attr:`.groups.Group.metrics`, so code that shows or writes those takes them too.
"""

from collections.abc import Sequence

import numpy as np

from cuhs.errors import CuhsError
from cuhs.evaluation.features import ALL, Features
from cuhs.evaluation.groups import Metrics, measures
from cuhs.evaluation.ranking import Ranking, rank


def by_query(
    ranking: Ranking,
    pids: np.ndarray,
    labels: np.ndarray | Sequence,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Metrics]:
    """Measure the queries of each label separately, from their existing ranking.

    Args:
        ranking: ranking of Q queries.
        pids: (Q,) int or str, identities of the queries.
        labels: (Q,) of any kind, such as the source, or whether a query is occluded.
        ranks: values of K for the CMC.
        resamples: see :func:`.intervals.interval`.
        seed: see :func:`.intervals.interval`.

    Returns:
        Measures by label (as text), sorted; None where no query of that label has a true match.

    Raises:
        CuhsError: the lengths differ.

    Example:
        >>> gallery = Features(np.array([[1.0, 0.0], [2.0, 0.0]]), pids=[1, 2], camids=[1, 1])
        >>> ranking = rank(Features(np.eye(2), pids=[1, 2], camids=[0, 0]), gallery)
        >>> table = by_query(ranking, np.array([1, 2]), [False, True], resamples=10)
        >>> table["False"]["mAP"], table["True"]["mAP"]
        (100.0, 50.0)
    """
    pids, labels = np.asarray(pids), np.asarray(labels)
    if not len(pids) == len(labels) == len(ranking.ap):
        raise CuhsError(
            f"slices: {len(ranking.ap)} queries need as many pids and labels, got {len(pids)}, {len(labels)}"
        )
    slices = {str(label): labels == label for label in np.unique(labels)}
    return {name: measures(ranking.take(rows), pids[rows], ranks, resamples, seed) for name, rows in slices.items()}


def by_pair(
    query: Features,
    gallery: Features,
    query_labels: np.ndarray | Sequence,
    gallery_labels: np.ndarray | Sequence,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    chunk_mb: float = 128,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Metrics]:
    """Measure the queries of one label against the gallery rows of another, for every pair of labels.

    With cameras as labels, these are the camera pairs. All pairs together cost as much as one ranking.

    Args:
        query: Q queries.
        gallery: G rows.
        query_labels: (Q,) of any kind.
        gallery_labels: (G,) of any kind.
        ranks: values of K for the CMC.
        chunk_mb: see :func:`.ranking.rank`.
        resamples: see :func:`.intervals.interval`.
        seed: see :func:`.intervals.interval`.

    Returns:
        Measures by ``query label → gallery label``, sorted; pairs without a true match are left out.

    Raises:
        CuhsError: the lengths differ, or the features cannot be ranked (see :func:`.ranking.rank`).
    """
    tables = {}
    galleries = _labelled(gallery, gallery_labels)
    for query_label, queries in _labelled(query, query_labels).items():
        for gallery_label, rows in galleries.items():
            ranking = rank(queries, rows, chunk_mb=chunk_mb)
            if ranking.valid.any():
                metrics = measures(ranking, queries.pids, ranks, resamples, seed)
                tables[f"{query_label} → {gallery_label}"] = metrics | {"gallery": len(rows)}
    return tables


def _labelled(split: Features, labels: np.ndarray | Sequence) -> dict[str, Features]:
    """Split the rows by label, sorted; junk rows are left out."""
    rows, labels = split.rows_of(ALL), np.asarray(labels)
    if len(labels) != len(split):
        raise CuhsError(f"slices: {len(split)} rows of features need as many labels, got {len(labels)}")
    return {str(label): split.take(rows[labels[rows] == label]) for label in np.unique(labels[rows])}
