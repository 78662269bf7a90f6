import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.errors import CuhsError
from cuhs.evaluation import products as products_module
from cuhs.evaluation import ranking as ranking_module
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import Ranking, rank, rank_distances, top_k
from tests.evaluation.problems import assert_same, problems, whole_number_problem


def placed(query, pid, camid, gallery):
    """Gallery rows in the order that the protocol gives them, by distances in float64 and a plain sort."""
    eligible = []
    for j in range(len(gallery)):
        if gallery.pids[j] < 0 or (gallery.pids[j] == pid and gallery.camids[j] == camid):
            continue
        distance = float(((query.astype(np.float64) - gallery.values[j].astype(np.float64)) ** 2).sum())
        eligible.append((distance, gallery.pids[j] == pid, j))
    return sorted(eligible)


def reference(queries, gallery):
    results = []
    for query, pid, camid in zip(queries.values, queries.pids, queries.camids, strict=True):
        order = placed(query, pid, camid, gallery)
        hits = [position for position, (_, match, _) in enumerate(order, 1) if match and pid >= 0]
        if not hits:
            results.append((math.nan, math.nan, 0, -1, 0))
            continue
        precisions = [number / position for number, position in enumerate(hits, 1)]
        first = order[hits[0] - 1][2]
        results.append((sum(precisions) / len(hits), len(hits) / hits[-1], hits[0], first, len(hits)))
    return results


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
    queries, gallery = problem
    for i, (query, pid, camid) in enumerate(zip(queries.values, queries.pids, queries.camids, strict=True)):
        order = placed(query, pid, camid, gallery)[:k]
        padding = k - len(order)
        assert indices[i].tolist() == [j for _, _, j in order] + [-1] * padding
        expected = [math.sqrt(distance) for distance, _, _ in order] + [math.inf] * padding
        assert distances[i].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("chunk_mb", [0.001, 1, 1.7])
def test_chunk_size_changes_nothing(chunk_mb):
    problem = whole_number_problem()
    assert_same(rank(*problem, chunk_mb=chunk_mb), rank(*problem, chunk_mb=1024))


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


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_features_of_other_precisions_are_converted_a_part_at_a_time(monkeypatch, dtype):
    problem = whole_number_problem()
    expected = rank(*problem)
    widths = []
    product = torch.addmm

    def spy(*args, out, **kwargs):
        widths.append(out.shape[1])
        return product(*args, out=out, **kwargs)

    monkeypatch.setattr(torch, "addmm", spy)
    monkeypatch.setattr(products_module, "_CONVERTED", 16 * 16)
    result = rank(*(replace(side, values=side.values.astype(dtype)) for side in problem))
    assert_same(result, expected)
    assert max(widths) == 16 and sum(widths) == 3000


def test_a_file_mapped_for_reading_is_ranked_as_it_lies(tmp_path, monkeypatch):
    query, gallery = whole_number_problem()
    np.save(tmp_path / "gallery.npy", gallery.values)
    mapped = replace(gallery, values=np.load(tmp_path / "gallery.npy", mmap_mode="r"))
    products = products_module.Products.of(query, mapped)
    assert products.gallery.data_ptr() == mapped.values.ctypes.data
    assert_same(rank(query, mapped), rank(query, gallery))
    np.testing.assert_array_equal(np.load(tmp_path / "gallery.npy"), gallery.values)


def exact_distances(query, gallery):
    differences = query.values.astype(np.float64)[:, None] - gallery.values.astype(np.float64)[None]
    return (differences**2).sum(-1)


@settings(max_examples=150, deadline=None)
@given(problems(), st.integers(1, 7), st.sampled_from([np.float32, np.float64]))
def test_distances_from_elsewhere_are_ranked_as_those_of_features(problem, size, dtype):
    distances = exact_distances(*problem).astype(dtype)
    blocks = (distances[start : start + size] for start in range(0, len(distances), size))
    labels = (Features.without_values(side.pids, side.camids) for side in problem)
    assert_same(rank_distances(blocks, *labels), rank(*problem))


def test_distances_mapped_for_reading_are_not_written_into(tmp_path):
    np.save(tmp_path / "distances.npy", np.array([[0.5, 0.1]], np.float32))
    mapped = np.load(tmp_path / "distances.npy", mmap_mode="r")
    query, gallery = Features.without_values([1], [0]), Features.without_values([1, 2], [1, 1])
    assert rank_distances([mapped], query, gallery).first_hit.tolist() == [2]
    assert np.load(tmp_path / "distances.npy").tolist() == np.array([[0.5, 0.1]], np.float32).tolist()


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.zeros((2, 4))], "got 4 columns in rows 0 to 1; the labels are of 3 queries and 5 gallery rows"),
        ([np.zeros((2, 5)), np.zeros((2, 5))], "got 5 columns in rows 2 to 3; the labels are of 3 queries"),
        ([np.zeros((2, 5))], "got 2 rows; the labels are of 3 queries"),
        ([np.zeros((2, 5)), np.array([[0, 0, np.nan, 0, 0]])], "row 2 holds NaN, infinity"),
        ([np.full((3, 5), np.inf)], "row 0 holds NaN, infinity"),
        ([np.zeros(5)], r"distances: must be \(N, D\)"),
    ],
)
def test_distances_that_do_not_fit_are_refused(blocks, message):
    query, gallery = Features.without_values([1, 2, 3], [0] * 3), Features.without_values([1] * 5, [1] * 5)
    with pytest.raises(CuhsError, match=message):
        rank_distances(blocks, query, gallery)


def test_parts_of_a_ranking_are_the_rankings_of_the_parts():
    query, gallery = whole_number_problem(queries=40, gallery=200)
    whole = rank(query, gallery)
    parts = [rank(query.take(rows), gallery) for rows in np.split(np.arange(40), [7, 30])]
    assert_same(Ranking.joined(parts), whole)
    assert_same(whole.take(np.arange(7, 30)), parts[1])
    assert_same(whole.take(np.arange(40) < 7), parts[0])


def as_tensors(side, device="cpu"):
    return Features(*(torch.from_numpy(part).to(device) for part in (side.values, side.pids, side.camids)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_numbers_of_the_cpu():
    problem = whole_number_problem()
    on_gpu = [as_tensors(side, "cuda") for side in problem]
    np.testing.assert_array_equal(rank(*on_gpu, chunk_mb=1).ap, rank(*problem).ap)
    np.testing.assert_array_equal(top_k(*on_gpu, 10)[0], top_k(*problem, 10)[0])


def test_tensors_arrays_and_labels_of_strings_give_the_same_numbers():
    query, gallery = whole_number_problem(gallery=500)
    gallery = gallery.take(np.flatnonzero(~gallery.is_junk))
    expected = rank(query, gallery).ap
    tensors = [as_tensors(side) for side in (query, gallery)]
    np.testing.assert_array_equal(rank(*tensors).ap, expected)
    halves = [replace(side, values=side.values.half()) for side in tensors]
    np.testing.assert_array_equal(rank(*halves).ap, expected)

    def named(side, pid_kind, camid_kind):
        pids, camids = ([f"set/{label:03d}" for label in labels] for labels in (side.pids, side.camids))
        return Features(side.values, np.array(pids, pid_kind), np.array(camids, camid_kind))

    np.testing.assert_array_equal(rank(named(query, object, str), named(gallery, str, object)).ap, expected)


def with_junk(sides):
    """Some rows of both sides marked."""
    random = np.random.default_rng(3)
    return [replace(side, junk=random.random(len(side)) < 0.3) for side in sides]


def test_rows_marked_as_junk_are_ranked_as_those_of_a_negative_identity():
    marked = with_junk(whole_number_problem())
    negative = [replace(side, pids=np.where(side.junk, -1, side.pids), junk=None) for side in marked]
    ranking = rank(*marked)
    assert_same(ranking, rank(*negative))
    assert not ranking.valid[marked[0].junk].any() and ranking.valid.sum() > 100
    for found, expected in zip(top_k(*marked, 20), top_k(*negative, 20), strict=True):
        np.testing.assert_array_equal(found, expected)
    distances = [exact_distances(*marked)]
    assert_same(rank_distances(distances, *marked), rank_distances(distances, *negative))


def test_a_gallery_without_its_junk_gives_the_same_measures():
    query, gallery = with_junk(whole_number_problem())
    rows = [np.flatnonzero(~side.is_junk) for side in (query, gallery)]
    kept = rank(query.take(rows[0]), gallery.take(rows[1]))
    ranking = rank(query, gallery).take(rows[0])
    np.testing.assert_array_equal(ranking.ap, kept.ap)
    np.testing.assert_array_equal(ranking.first_match[kept.valid], rows[1][kept.first_match[kept.valid]])


def test_a_feature_that_requires_gradients_is_ranked():
    query = Features(torch.tensor([[0.0]], requires_grad=True), [1], [0])
    assert rank(query, Features(torch.tensor([[1.0]]), [1], [1])).map() == 1.0


def test_a_gallery_of_the_querys_own_camera_leaves_nothing_to_measure():
    features = Features(np.eye(4, dtype=np.float32), [0, 0, 1, 1], [5] * 4)
    result = rank(features, features)
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
    values = np.zeros((5, 3))
    values[3, 1] = value
    query = Features(np.zeros((2, 3)), [1, 2], [0, 0])
    gallery = Features(values, [1] * 5, [1] * 5, names=["a", "b", "c", "d.jpg", "e"])
    with pytest.raises(CuhsError, match=r"gallery features: row 3 \(d\.jpg\)"):
        rank(query, gallery)
    broken = Features(np.vstack([values, values[3]]), [1] * 6, [0] * 6)
    with pytest.raises(CuhsError, match="query features: row 3 and 1 more"):
        rank(broken, query)
    with pytest.raises(CuhsError, match="row 3"):
        top_k(query, broken, 2)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ({"values": np.zeros((2, 4))}, {}, "queries have 4 dimensions and the gallery 3"),
        ({"values": np.zeros(2)}, {}, r"query features: must be \(N, D\)"),
        ({}, {"values": np.zeros((5, 3, 1))}, r"gallery features: must be \(N, D\)"),
        ({"pids": ["a", "b"]}, {}, "pids: integers on one side"),
        ({}, {"values": np.array([["a"] * 3] * 5)}, "gallery features: must be real numbers"),
    ],
)
def test_sides_that_do_not_fit_are_refused(query, gallery, message):
    queries = replace(Features(np.zeros((2, 3)), [1, 2], [0, 0]), **query)
    rows = replace(Features(np.zeros((5, 3)), [1] * 5, [1] * 5), **gallery)
    with pytest.raises(CuhsError, match=message):
        rank(queries, rows)


def test_top_k_refuses_an_empty_list():
    with pytest.raises(CuhsError, match="k: must be at least 1"):
        top_k(Features(np.zeros((1, 2)), [1], [0]), Features(np.zeros((1, 2)), [1], [1]), 0)


def test_examples_in_the_docstrings_run():
    results = doctest.testmod(ranking_module)
    assert results.attempted > 0
    assert results.failed == 0
