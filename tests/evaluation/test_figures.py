"""Curves, and what is drawn over images."""

import io

import numpy as np
from PIL import Image

from cuhs.evaluation import figures
from cuhs.evaluation.groups import evaluate_groups
from tests.evaluation.problems import features


def test_a_group_without_a_valid_query_has_no_curve(splits):
    _, gallery = splits
    strangers = features([0.0, 1.0], [70, 71], camera=0)
    results = evaluate_groups(strangers, gallery, resamples=100)
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


def test_an_overlay_is_warm_where_the_heat_is_and_dark_elsewhere():
    image = Image.new("RGB", (40, 80), (128, 128, 128))
    heat = np.zeros((8, 4))
    heat[1, 2] = 7.0
    pixels = np.asarray(figures.overlay(image, heat)).astype(int)
    assert pixels.shape == (80, 40, 3)
    red_over_blue = pixels[..., 0] - pixels[..., 2]
    y, x = np.unravel_index(red_over_blue.argmax(), red_over_blue.shape)
    assert 10 <= y < 20 and 20 <= x < 30
    assert abs(red_over_blue[40:]).max() <= 2


def test_an_overlay_of_no_heat_is_grey():
    pixels = np.asarray(figures.overlay(Image.new("RGB", (8, 8), (200, 0, 0)), np.zeros((2, 2)))).astype(int)
    assert (pixels == pixels[..., :1]).all()


def test_an_outline_runs_along_the_box_and_leaves_the_rest():
    image = Image.new("RGB", (40, 80), (10, 20, 30))
    pixels = np.asarray(figures.outline(image, [0.25, 0.125, 0.75, 0.5]))
    yellow = (pixels == (255, 208, 0)).all(-1)
    rows, columns = np.flatnonzero(yellow.any(1)), np.flatnonzero(yellow.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 39, 10, 29)
    assert (pixels[15, 20] == (10, 20, 30)).all()
    assert np.asarray(image)[10, 10].tolist() == [10, 20, 30], "the picture given is not drawn on"
