"""Which queries are shown, and what stands in their lists."""

import numpy as np
import pytest
from PIL import Image

from cuhs.evaluation.examples import choose, examples
from cuhs.evaluation.groups import evaluate_groups
from tests.evaluation.problems import features


@pytest.fixture
def shown(splits):
    def image_of(shade):
        return lambda row: Image.new("RGB", (32, 64), (row * 20, shade, shade))

    group = evaluate_groups(*splits, resamples=100)["all"]
    return examples(*splits, group, image_of(0), image_of(90), k=3, count=1)


def test_lists_hold_the_nearest_images_and_the_lost_match(shown):
    assert [(e.kind, e.row, e.pid, round(e.ap, 3)) for e in shown] == [
        ("best", 0, "1", 1.0),
        ("median", 1, "2", 0.5),
        ("worst", 2, "3", 0.167),
    ]
    assert [[(f.rank, f.row, f.hit) for f in e.found] for e in shown] == [
        [(1, 0, True), (2, 2, False), (3, 1, False)],
        [(1, 2, False), (2, 1, True), (3, 0, False)],
        [(1, 3, False), (2, 4, False), (3, 1, False), (6, 5, True)],
    ]
    assert [e.match.row for e in shown] == [0, 1, 5]
    # Each picture is of its own row and split.
    assert shown[2].image.getpixel((0, 0)) == (40, 0, 0)
    assert shown[2].match.image.getpixel((0, 0)) == (100, 90, 90)


def test_examples_are_of_different_identities():
    count = 40
    query = features(np.arange(count), np.arange(count) // 8, camera=0)
    gallery = features(np.arange(count) + 0.4, np.roll(np.arange(count) // 8, 3), camera=1)
    group = evaluate_groups(query, gallery, resamples=100)["all"]
    examples = choose(group.ranking, query.pids, count=2)
    chosen = [int(query.pids[i]) for indices in examples.values() for i in indices]
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    ap = group.ranking.ap
    assert ap[examples["best"][0]] == ap.max()
    assert ap[examples["worst"][0]] <= np.sort(ap)[8]
    assert ap[examples["best"][0]] >= ap[examples["median"][0]] >= ap[examples["worst"][0]]


def test_a_group_without_a_valid_query_has_no_examples(splits):
    _, gallery = splits
    strangers = features([0.0, 1.0], [70, 71], camera=0)
    results = evaluate_groups(strangers, gallery, resamples=100)
    assert examples(strangers, gallery, results["all"], None, None) == []
