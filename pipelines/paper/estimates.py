"""What the trainings of a row say together, and how far two rows differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cuhs.evaluation.intervals import Difference, interval, paired
from pipelines.paper.trainings import MEASURES, Evaluated


class Estimate(NamedTuple):
    """A mean over queries and trainings, in percent, with its 95 % interval."""

    mean: float
    low: float
    high: float


def estimates(trainings: Sequence[Evaluated]) -> dict[str, dict[str, Estimate]]:
    """{group: {measure: estimate}} of trainings with other seeds, evaluated on the same data."""
    found: dict[str, dict[str, Estimate]] = {}
    for group in trainings[0].queries[MEASURES[0]]:
        values, pids = _table(trainings, group)
        low, high = interval(100 * values, pids)
        means = 100 * values.mean((0, 1))
        found[group] = {
            measure: Estimate(float(means[i]), float(low[i]), float(high[i])) for i, measure in enumerate(MEASURES)
        }
    return found


def difference(a: Sequence[Evaluated], b: Sequence[Evaluated], group: str) -> Difference:
    """The difference of a group's mAP, a minus b, in percentage points."""
    (first, pids), (second, _) = _table(a, group), _table(b, group)
    return paired(100 * first[..., 0], 100 * second[..., 0], pids)


def _table(trainings: Sequence[Evaluated], group: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of (trainings, queries, measures), and the queries' identities, (queries,)."""
    queries = trainings[0].queries[MEASURES[0]][group]
    values = [
        [[training.queries[measure][group][query][1] for measure in MEASURES] for query in queries]
        for training in trainings
    ]
    return np.array(values), np.array([pid for pid, _ in queries.values()])
