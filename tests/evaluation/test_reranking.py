import doctest
from dataclasses import replace

import numpy as np
import pytest
import torch

from cuhs.errors import CuhsError
from cuhs.evaluation import reranking
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import rank_distances
from cuhs.evaluation.reranking import rank_reranked, rerank
from tests.evaluation.problems import assert_same


def direct(query, gallery, k1, k2, lambda_value):
    """The algorithm as the paper tells it, with dense matrices in float64 and a loop for each step."""
    features = np.concatenate([query.values, gallery.values]).astype(np.float64)
    images, queries = len(features), len(query)
    distances = ((features[:, None] - features[None]) ** 2).sum(-1)
    distances /= distances.max(1, keepdims=True)
    order = np.argsort(distances, axis=1, kind="stable")

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    encodings = np.zeros((images, images))
    for i in range(images):
        neighbours = reciprocal(i, k1)
        expanded = set(neighbours)
        for j in neighbours:
            others = reciprocal(j, int(np.around(k1 / 2)))
            if len(others & neighbours) > 2 / 3 * len(others):
                expanded |= others
        members = sorted(expanded)
        weights = np.exp(-distances[i, members])
        encodings[i, members] = weights / weights.sum()
    encodings = np.stack([encodings[order[i, :k2]].mean(0) for i in range(images)])

    smaller = np.minimum(encodings[:queries, None], encodings[None, queries:]).sum(-1)
    larger = np.maximum(encodings[:queries, None], encodings[None, queries:]).sum(-1)
    return (1 - lambda_value) * (1 - smaller / larger) + lambda_value * distances[:queries, queries:]


def people(queries=12, gallery=90, dimensions=8, seed=0):
    """Clusters of features."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((9, dimensions))

    def side(count):
        pids = random.integers(0, 9, count)
        features = centres[pids] + 0.6 * random.standard_normal((count, dimensions))
        return Features(features.astype(np.float32), pids, random.integers(0, 3, count))

    return side(queries), side(gallery)


def unlabelled(values):
    return Features(values, np.zeros(len(values), np.int64), np.zeros(len(values), np.int64))


def reranked(query, gallery, **options):
    return torch.cat([block.clone() for block in rerank(query, gallery, **options)]).numpy()


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"), [(20, 6, 0.3), (7, 3, 0.0), (5, 1, 0.5), (1, 2, 0.3), (20, 6, 1.0), (200, 6, 0.3)]
)
def test_distances_are_those_of_the_published_algorithm(k1, k2, lambda_value):
    for seed in range(3):
        query, gallery = people(seed=seed)
        expected = direct(query, gallery, k1, k2, lambda_value)
        found = reranked(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        # What is compared is not what went in.
        if lambda_value < 1:
            assert np.abs(found - direct(query, gallery, k1, k2, 1.0)).max() > 0.1


def test_chunks_and_precision_change_nothing(monkeypatch):
    query, gallery = (unlabelled(side.values.astype(np.float16)) for side in people())
    expected = reranked(*(unlabelled(side.values.astype(np.float32)) for side in (query, gallery)))
    monkeypatch.setattr(reranking, "_GATHERED", 40)
    blocks = [block.clone() for block in rerank(query, unlabelled(torch.from_numpy(gallery.values)), chunk_mb=1e-3)]
    assert [len(block) for block in blocks] == [2] * 6
    np.testing.assert_allclose(torch.cat(blocks).numpy(), expected, atol=2e-6)


def test_duplicates_are_each_their_own_nearest():
    gallery = np.repeat(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], np.float32), 9, axis=0)
    query = np.array([[0.0, 0.0], [3.0, 0.1]], np.float32)
    found = reranked(unlabelled(query), unlabelled(gallery), k1=4, k2=2)
    assert np.isfinite(found).all() and (found > -1e-6).all()
    assert set(found[0].argsort()[:9]) == set(range(9))
    assert set(found[1].argsort()[:9]) == set(range(9, 18))


@pytest.mark.parametrize("gallery", [np.zeros((4, 3), np.float32), np.zeros((1, 3), np.float32)])
def test_features_that_are_all_alike_are_no_division_by_zero(gallery):
    assert np.isfinite(reranked(unlabelled(np.zeros((2, 3), np.float32)), unlabelled(gallery))).all()


def test_ranking_is_that_of_the_distances():
    query, gallery = people()
    expected = direct(query, gallery, 20, 6, 0.3)
    assert_same(rank_reranked(query, gallery), rank_distances([expected], query, gallery))


def test_an_image_that_cannot_be_compared_is_named():
    query, gallery = people()
    gallery.values[5, 0] = np.nan
    gallery = replace(gallery, names=[f"{i}.jpg" for i in range(len(gallery))])
    with pytest.raises(CuhsError, match=r"gallery features: row 5 \(5\.jpg\) holds NaN"):
        rank_reranked(query, gallery)


@pytest.mark.parametrize("options", [{"k1": 0, "k2": 6}, {"k2": 0}, {"k1": 4, "k2": 6}, {"lambda_value": 1.1}])
def test_parameters_out_of_range_are_refused(options):
    with pytest.raises(CuhsError, match="re-ranking: needs 1 <= k2"):
        next(rerank(unlabelled(np.zeros((2, 3))), unlabelled(np.zeros((4, 3))), **options))


def test_example_in_the_docstring_runs():
    results = doctest.testmod(reranking)
    assert results.attempted > 0
    assert results.failed == 0
