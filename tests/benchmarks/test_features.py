"""Features that the benchmarks draw: the same every time, and as hard as they say."""

import numpy as np

from benchmarks import own
from benchmarks.features import people


def test_the_same_seed_draws_the_same_features() -> None:
    first, again, other = (people(20, 100, 16, seed=seed) for seed in (0, 0, 1))
    for side, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(side.values, same.values)
        np.testing.assert_array_equal(side.pids, same.pids)
        assert not np.array_equal(side.values, different.values)


def test_identities_cameras_distractors_and_junk_are_as_asked() -> None:
    query, gallery = people(2000, 20_000, 8, identities=300, distractors=0.2, junk=0.1)
    assert set(query.pids) <= set(range(300)) and len(set(query.pids)) > 290
    assert set(query.camids) == set(gallery.camids) == set(range(6))
    assert abs((gallery.pids >= 300).mean() - 0.2) < 0.01
    assert abs((gallery.pids < 0).mean() - 0.1) < 0.01
    np.testing.assert_allclose(np.linalg.norm(gallery.values, axis=1), 1, rtol=1e-5)


def test_trained_features_find_their_identity_and_features_of_chance_do_not() -> None:
    trained = own.ranking(*people(300, 3000, 512, identities=150))
    assert 0.75 < trained.map() < 0.97 and trained.rank_at(1) > 0.85
    assert own.ranking(*people(300, 3000, 512, identities=150, signal=0.0)).map() < 0.03
