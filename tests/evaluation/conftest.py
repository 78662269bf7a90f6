"""What tests of several modules evaluate."""

import pytest

from cuhs.evaluation.features import Features
from tests.evaluation.problems import features


@pytest.fixture
def splits() -> tuple[Features, Features]:
    """On a line: query 0 finds its match first, query 1 second, query 2 only behind everything else."""
    query = features([0.0, 10.0, 20.0], [1, 2, 3], camera=0)
    gallery = features([0.5, 10.6, 10.2, 20.1, 19.8, -90.0], [1, 2, 8, 9, 9, 3], camera=1)
    return query, gallery
