import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from cuhs.evaluation import figures
from cuhs.evaluation.groups import Features, evaluate_groups


def features(values, pids, camera):
    count = len(values)
    return Features(
        np.array(values, np.float32)[:, None],
        np.array(pids),
        np.full(count, camera),
        [["all"]] * count,
        np.zeros(count, bool),
        [str(i) for i in range(count)],
    )


@pytest.fixture
def splits():
    """On a line: query 0 finds its match first, query 1 second, query 2 only behind everything else."""
    query = features([0.0, 10.0, 20.0], [1, 2, 3], camera=0)
    gallery = features([0.5, 10.6, 10.2, 20.1, 19.8, -90.0], [1, 2, 8, 9, 9, 3], camera=1)
    return query, gallery


@pytest.fixture
def drawn(splits):
    """The ranked lists with three places, and which images were asked for."""
    asked = []

    def image_of(side):
        def image(row):
            asked.append((side, row))
            return Image.new("RGB", (32, 64), (row * 20, 90, 90))

        return image

    group = evaluate_groups(*splits, resamples=100)["all"]
    figure = figures.ranked_lists(*splits, group, image_of("query"), image_of("gallery"), k=3, count=1)
    return figure, asked


def test_ranked_lists_show_the_nearest_images_and_the_lost_match(drawn):
    _, asked = drawn
    best = [("query", 0), ("gallery", 0), ("gallery", 2), ("gallery", 1)]
    median = [("query", 1), ("gallery", 2), ("gallery", 1), ("gallery", 0)]
    worst = [("query", 2), ("gallery", 3), ("gallery", 4), ("gallery", 1), ("gallery", 5)]
    assert asked == best + median + worst


def test_frames_and_titles_tell_hits_from_misses(drawn):
    figure, _ = drawn
    axes = figure.axes[0]
    frames = [(to_hex(patch.get_edgecolor()), patch.get_linestyle()) for patch in axes.patches]
    query, hit, miss = ("#5b6470", "solid"), ("#1a7f37", "solid"), ("#cf222e", "dashed")
    frames = [(colour, {"-": "solid", "--": "dashed"}.get(line, line)) for colour, line in frames]
    assert frames == [
        *(query, hit, miss, miss),
        *(query, miss, hit, miss),
        *(query, miss, miss, miss, hit),
    ]
    titles = [text.get_text() for text in axes.texts[::2]]
    assert titles == [
        *("best\nAP 100%", "1 ✓", "2", "3"),
        *("median\nAP 50%", "1", "2 ✓", "3"),
        *("worst\nAP 17%", "1", "2", "3", "6 ✓"),
    ]


def test_examples_are_of_different_identities():
    count = 40
    query = features(np.arange(count), np.arange(count) // 8, camera=0)
    gallery = features(np.arange(count) + 0.4, np.roll(np.arange(count) // 8, 3), camera=1)
    group = evaluate_groups(query, gallery, resamples=100)["all"]
    examples = figures.example_queries(group.ranking, query.pids, count=2)
    chosen = [int(query.pids[i]) for indices in examples.values() for i in indices]
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    ap = group.ranking.ap
    assert ap[examples["best"][0]] == ap.max()
    assert ap[examples["worst"][0]] <= np.sort(ap)[8]
    assert ap[examples["best"][0]] >= ap[examples["median"][0]] >= ap[examples["worst"][0]]


def test_a_group_without_a_valid_query_has_no_lists_and_no_curve(splits):
    _, gallery = splits
    strangers = features([0.0, 1.0], [70, 71], camera=0)
    results = evaluate_groups(strangers, gallery, resamples=100)
    assert figures.ranked_lists(strangers, gallery, results["all"], None, None) is None
    axes = figures.cmc_curves(results).axes[0]
    assert not axes.lines
    assert [text.get_text() for text in axes.texts] == ["no query has a true match"]


def test_curves_are_the_groups_cmc_in_percent(splits):
    results = evaluate_groups(*splits, resamples=100)
    figure = figures.cmc_curves(results, max_rank=6)
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(line.get_ydata(), np.array([1, 2, 2, 2, 2, 3]) * 100 / 3)
    assert line.get_label() == "all  (mAP 55.6)"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert Image.open(buffer).size[0] > 300
