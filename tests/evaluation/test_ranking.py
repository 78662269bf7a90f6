import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.errors import CuhsError
from cuhs.evaluation import ranking as ranking_module
from cuhs.evaluation.ranking import rank, top_k


def placed(query, pid, camid, gallery, pids, camids):
    """Gallery rows in the order that the protocol gives them, by distances in float64 and a plain sort."""
    eligible = []
    for j in range(len(gallery)):
        if pids[j] < 0 or (pids[j] == pid and camids[j] == camid):
            continue
        distance = float(((query.astype(np.float64) - gallery[j].astype(np.float64)) ** 2).sum())
        eligible.append((distance, pids[j] == pid, j))
    return sorted(eligible)


def reference(queries, query_pids, query_camids, gallery, pids, camids):
    results = []
    for query, pid, camid in zip(queries, query_pids, query_camids, strict=True):
        order = placed(query, pid, camid, gallery, pids, camids)
        hits = [position for position, (_, match, _) in enumerate(order, 1) if match and pid >= 0]
        if not hits:
            results.append((math.nan, math.nan, 0, -1, 0))
            continue
        precisions = [number / position for number, position in enumerate(hits, 1)]
        first = order[hits[0] - 1][2]
        results.append((sum(precisions) / len(hits), len(hits) / hits[-1], hits[0], first, len(hits)))
    return results


@st.composite
def problems(draw):
    """Few identities, cameras and feature values, so that ties, junk and empty cases come often."""
    dimensions = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))

    def side(largest):
        count = draw(st.integers(0, largest))
        values = st.lists(st.integers(-3, 3), min_size=count * dimensions, max_size=count * dimensions)
        labels = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=count, max_size=count)
        pairs = np.array(draw(labels), np.int64).reshape(count, 2)
        return np.array(draw(values), dtype).reshape(count, dimensions), pairs[:, 0], pairs[:, 1]

    return *side(6), *side(25)


@settings(max_examples=300, deadline=None)
@given(problems(), st.sampled_from([1e-6, 1e-4, 1.0]))
def test_ranking_equals_a_plain_sort_of_all_distances(problem, chunk_mb):
    result = rank(*problem, chunk_mb=chunk_mb)
    expected = reference(*problem)
    for i, (ap, inp, first_hit, first_match, matches) in enumerate(expected):
        assert result.ap[i] == pytest.approx(ap, abs=1e-12, nan_ok=True)
        assert result.inp[i] == pytest.approx(inp, abs=1e-12, nan_ok=True)
        assert (result.first_hit[i], result.first_match[i], result.matches[i]) == (
            first_hit,
            first_match,
            matches,
        )
        assert result.valid[i] == (matches > 0)
    valid = [entry for entry in expected if entry[4]]
    assert len(valid) + len(result.without_match) == len(expected)
    if valid:
        assert result.map() == pytest.approx(np.mean([entry[0] for entry in valid]))
        assert result.minp() == pytest.approx(np.mean([entry[1] for entry in valid]))
        for k in (1, 2, 5, 30):
            assert result.rank_at(k) == pytest.approx(np.mean([entry[2] <= k for entry in valid]))
    else:
        assert math.isnan(result.map())


@settings(max_examples=200, deadline=None)
@given(problems(), st.integers(1, 30), st.sampled_from([1e-6, 1.0]))
def test_top_k_lists_the_rows_in_the_order_of_a_plain_sort(problem, k, chunk_mb):
    indices, distances = top_k(*problem, k, chunk_mb=chunk_mb)
    assert indices.shape == distances.shape == (len(problem[0]), k)
    queries, query_pids, query_camids, *gallery = problem
    for i, (query, pid, camid) in enumerate(zip(queries, query_pids, query_camids, strict=True)):
        order = placed(query, pid, camid, *gallery)[:k]
        padding = k - len(order)
        assert indices[i].tolist() == [j for _, _, j in order] + [-1] * padding
        expected = [math.sqrt(distance) for distance, _, _ in order] + [math.inf] * padding
        assert distances[i].tolist() == pytest.approx(expected, abs=1e-5)


def whole_number_problem(queries=300, gallery=3000, dimensions=16, seed=0):
    """Whole-numbered features: every float32 distance is exact, whatever the order of summation."""
    random = np.random.default_rng(seed)
    return (
        random.integers(-9, 10, (queries, dimensions)).astype(np.float32),
        random.integers(0, 40, queries),
        random.integers(0, 4, queries),
        random.integers(-9, 10, (gallery, dimensions)).astype(np.float32),
        random.integers(-1, 60, gallery),
        random.integers(0, 4, gallery),
    )


@pytest.mark.parametrize("chunk_mb", [0.001, 1, 1.7])
def test_chunk_size_changes_nothing(chunk_mb):
    problem = whole_number_problem()
    small, large = rank(*problem, chunk_mb=chunk_mb), rank(*problem, chunk_mb=1024)
    for field in ("ap", "inp", "first_hit", "first_match", "matches", "valid"):
        np.testing.assert_array_equal(getattr(small, field), getattr(large, field))


def test_the_buffer_of_distances_stays_within_its_size(monkeypatch):
    sizes = []
    product = torch.addmm

    def spy(*args, out, **kwargs):
        sizes.append(out.numel() * out.element_size())
        return product(*args, out=out, **kwargs)

    monkeypatch.setattr(torch, "addmm", spy)
    rank(*whole_number_problem(), chunk_mb=1)
    assert sum(sizes) == 300 * 3000 * 4
    assert 2**19 < max(sizes) <= 2**20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_numbers_of_the_cpu():
    query, query_pids, query_camids, gallery, pids, camids = whole_number_problem()
    expected = rank(query, query_pids, query_camids, gallery, pids, camids)
    on_gpu = [torch.from_numpy(part).cuda() for part in (query, query_pids, query_camids, gallery, pids, camids)]
    np.testing.assert_array_equal(rank(*on_gpu, chunk_mb=1).ap, expected.ap)
    np.testing.assert_array_equal(
        top_k(*on_gpu, 10)[0], top_k(query, query_pids, query_camids, gallery, pids, camids, 10)[0]
    )


def test_tensors_arrays_and_labels_of_strings_give_the_same_numbers():
    query, query_pids, query_camids, gallery, pids, camids = whole_number_problem(gallery=500)
    keep = pids >= 0
    gallery, pids, camids = gallery[keep], pids[keep], camids[keep]
    expected = rank(query, query_pids, query_camids, gallery, pids, camids).ap
    tensors = [torch.from_numpy(part) for part in (query, query_pids, query_camids, gallery, pids, camids)]
    np.testing.assert_array_equal(rank(*tensors).ap, expected)
    np.testing.assert_array_equal(
        rank(tensors[0].half(), *tensors[1:3], tensors[3].half(), *tensors[4:]).ap, expected
    )

    def names(labels, kind):
        return np.array([f"set/{label:03d}" for label in labels], kind)

    named = [names(query_pids, object), names(query_camids, str), names(pids, str), names(camids, object)]
    np.testing.assert_array_equal(rank(query, named[0], named[1], gallery, named[2], named[3]).ap, expected)


def test_a_feature_that_requires_gradients_is_ranked():
    query = torch.tensor([[0.0]], requires_grad=True)
    assert rank(query, [1], [0], torch.tensor([[1.0]]), [1], [1]).map() == 1.0


def test_a_gallery_of_the_querys_own_camera_leaves_nothing_to_measure():
    features = np.eye(4, dtype=np.float32)
    result = rank(features, [0, 0, 1, 1], [5] * 4, features, [0, 0, 1, 1], [5] * 4)
    assert not result.valid.any()
    assert result.without_match.tolist() == [0, 1, 2, 3]
    assert all(math.isnan(value) for value in result.percentages((1, 5)).values())


def test_percentages_carry_the_fields_names():
    problem = whole_number_problem()
    result = rank(*problem)
    percentages = result.percentages((1, 20))
    assert list(percentages) == ["mAP", "mINP", "rank1", "rank20"]
    assert percentages["mAP"] == pytest.approx(100 * result.map())
    assert percentages["rank20"] == pytest.approx(100 * result.cmc(20)[-1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_feature_that_cannot_be_ranked_is_named(value):
    query, gallery = np.zeros((2, 3)), np.zeros((5, 3))
    gallery[3, 1] = value
    names = ["a", "b", "c", "d.jpg", "e"]
    with pytest.raises(CuhsError, match=r"gallery features: row 3 \(d\.jpg\)"):
        rank(query, [1, 2], [0, 0], gallery, [1] * 5, [1] * 5, gallery_names=names)
    with pytest.raises(CuhsError, match="query features: row 3 and 1 more"):
        rank(np.vstack([gallery, gallery[3]]), [1] * 6, [0] * 6, query, [1, 2], [0, 0])
    with pytest.raises(CuhsError, match="row 3"):
        top_k(query, [1, 2], [0, 0], gallery, [1] * 5, [1] * 5, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((2, 4))}, "queries have 4 dimensions and the gallery 3"),
        ({0: np.zeros(3)}, r"query features: must be \(N, D\)"),
        ({3: np.zeros((5, 3, 1))}, r"gallery features: must be \(N, D\)"),
        ({1: [1, 2, 3]}, "query pids: 2 rows"),
        ({5: [1, 2, 3]}, "gallery camids: 5 rows"),
        ({1: ["a", "b"]}, "pids: integers on one side"),
        ({2: [0.5, 1.0]}, "query camids: must be integers or strings"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    problem = [np.zeros((2, 3)), [1, 2], [0, 0], np.zeros((5, 3)), [1] * 5, [1] * 5]
    for position, value in change.items():
        problem[position] = value
    with pytest.raises(CuhsError, match=message):
        rank(*problem)


def test_top_k_refuses_an_empty_list():
    with pytest.raises(CuhsError, match="k: must be at least 1"):
        top_k(np.zeros((1, 2)), [1], [0], np.zeros((1, 2)), [1], [1], 0)


def test_examples_in_the_docstrings_run():
    results = doctest.testmod(ranking_module)
    assert results.attempted > 0
    assert results.failed == 0
