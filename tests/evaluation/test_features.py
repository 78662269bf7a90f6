import doctest
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from cuhs.errors import CuhsError
from cuhs.evaluation import features as features_module
from cuhs.evaluation.features import Features


@pytest.fixture
def split():
    return Features(
        np.arange(8.0).reshape(4, 2),
        pids=[5, -1, 7, 5],
        camids=["a", "b", "a", "b"],
        names=["0.jpg", "1.jpg", "2.jpg", "3.jpg"],
        groups=[["black"], ["black"], [], ["white", "black"]],
        junk=np.array([False, False, True, False]),
    )


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([1, 2], "i"),
        (["a", "b"], "U"),
        (torch.tensor([1, 2]), "i"),
        (np.array(["a", "b"], object), "U"),
        (np.array([1, 2], np.uint8), "u"),
    ],
)
def test_labels_of_any_form_are_kept_as_arrays(labels, kind):
    features = Features(np.zeros((2, 3)), labels, labels)
    assert isinstance(features.pids, np.ndarray) and features.pids.dtype.kind == features.camids.dtype.kind == kind
    assert features.pids.tolist() == list(labels)


def test_arrays_are_kept_without_a_copy(tmp_path):
    np.save(tmp_path / "values.npy", np.zeros((2, 3), np.float16))
    values, pids = np.load(tmp_path / "values.npy", mmap_mode="r"), np.array([1, 2])
    features = Features(values, pids, pids)
    assert features.values is values and features.pids is pids
    assert features.take(np.arange(2)) is features


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pids": [1, 2, 3]}, r"pids: 4 rows of features need as many labels, got \(3,\)"),
        ({"camids": [[1]] * 4}, r"camids: 4 rows of features need as many labels, got \(4, 1\)"),
        ({"camids": [0.5] * 4}, "camids: must be integers or strings, got float64"),
        ({"pids": np.array([1, "a", None, 2], object)}, "pids: must be integers or strings, got object"),
        ({"names": ["a"]}, "names: 4 rows of features need as many, got 1"),
        ({"groups": [[]] * 5}, "groups: 4 rows of features need as many, got 5"),
        ({"junk": np.zeros(3, bool)}, "junk: 4 rows of features need as many, got 3"),
    ],
)
def test_what_does_not_fit_the_rows_is_refused(split, change, message):
    with pytest.raises(CuhsError, match=message):
        replace(split, **change)


def test_junk_is_a_negative_identity_or_a_marked_row(split):
    assert split.is_junk.tolist() == [False, True, True, False]
    assert replace(split, junk=None).is_junk.tolist() == [False, True, False, False]
    named = replace(split, pids=["5", "-1", "7", "5"])
    assert named.is_junk.tolist() == [False, False, True, False]
    assert not replace(named, junk=None).is_junk.any()


def test_the_rows_of_a_group_are_without_junk(split):
    assert split.rows_of("all").tolist() == [0, 3]
    assert split.rows_of("black").tolist() == [0, 3]
    assert split.rows_of("white").tolist() == [3]
    assert split.named_groups == {"black", "white"}
    without = replace(split, groups=None)
    assert without.named_groups == set()
    assert without.rows_of("all").tolist() == [0, 3] and without.rows_of("black").tolist() == []


def test_rows_are_taken_with_all_that_is_known_of_them(split):
    taken = split.take(np.array([3, 2]))
    np.testing.assert_array_equal(taken.values, split.values[[3, 2]])
    assert (taken.pids.tolist(), taken.camids.tolist()) == ([5, 7], ["b", "a"])
    assert (taken.names, taken.groups) == (["3.jpg", "2.jpg"], [["white", "black"], []])
    assert taken.junk.tolist() == [False, True]
    bare = Features(split.values, split.pids, split.camids).take(np.array([1]))
    assert bare.names is bare.groups is bare.junk is None
    assert (taken.name(1), bare.name(0)) == ("2.jpg", "row 0")


def test_features_go_to_another_process_whole(split):
    again = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(again.values, split.values)
    assert again.is_junk.tolist() == split.is_junk.tolist() and again.names == split.names


def test_no_rows_have_labels_of_any_kind():
    assert Features(np.zeros((0, 3)), [], []).rows_of("all").tolist() == []


def test_example_in_the_docstring_runs():
    results = doctest.testmod(features_module)
    assert results.attempted > 0
    assert results.failed == 0
