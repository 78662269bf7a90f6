"""Ranking problems with few identities, cameras and values, so that ties, junk and empty cases come often."""

import numpy as np
from hypothesis import strategies as st

from cuhs.evaluation.features import Features


@st.composite
def problems(draw, queries=6, gallery=25):
    """Query and gallery of at most so many rows.

    Values are whole numbers: every float32 distance is exact, whatever the order of summation.
    """
    dimensions = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))

    def side(largest):
        count = draw(st.integers(0, largest))
        values = st.lists(st.integers(-3, 3), min_size=count * dimensions, max_size=count * dimensions)
        labels = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=count, max_size=count)
        pairs = np.array(draw(labels), np.int64).reshape(count, 2)
        return Features(np.array(draw(values), dtype).reshape(count, dimensions), pairs[:, 0], pairs[:, 1])

    return side(queries), side(gallery)


def whole_number_problem(queries=300, gallery=3000, dimensions=16, seed=0):
    """A larger one, as exact."""
    random = np.random.default_rng(seed)

    def side(count, first, last):
        values = random.integers(-9, 10, (count, dimensions)).astype(np.float32)
        return Features(values, random.integers(first, last, count), random.integers(0, 4, count))

    return side(queries, 0, 40), side(gallery, -1, 60)


def assert_same(one, other):
    """Two rankings are equal to the last bit."""
    for field in ("ap", "inp", "first_hit", "first_match", "matches", "valid"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def features(values, pids, camera):
    """Images on a line, all seen by one camera."""
    count = len(values)
    return Features(
        np.array(values, np.float32)[:, None], pids, np.full(count, camera), [str(i) for i in range(count)]
    )
