"""How growth is measured: exponents, tables, curves, and points in processes of their own."""

import math
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.curves import draw, exponent
from benchmarks.points import POINTS, SHAPES
from benchmarks.scaling import SERIES, curve, table


@pytest.mark.parametrize("k", [-0.5, 0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found_in_any_order(k: float) -> None:
    sizes = [1000, 10, 100]
    assert exponent(sizes, [3 * size**k for size in sizes]) == pytest.approx(k, abs=1e-9)


def test_a_constant_cost_of_small_sizes_does_not_hide_the_growth_of_large_ones() -> None:
    sizes = [1, 10, 1_000, 10_000, 100_000]
    assert exponent(sizes, [5, 5, 1_000, 10_000, 100_000]) == pytest.approx(1)


def test_there_is_no_exponent_of_one_size_or_of_nothing() -> None:
    assert math.isnan(exponent([10], [1]))
    assert math.isnan(exponent([10, 100], [0, 1]))


def test_a_table_has_a_row_for_each_size_and_one_of_exponents() -> None:
    points = [(1_000, {"s": 0.01234, "MB": 1_500.0}), (10_000, {"s": 1.234, "MB": 15_000.0})]
    assert table(SERIES["sampler"], *curve(points)).splitlines() == [
        "**Drawing an epoch's batches**",
        "",
        "| identities | s | MB |",
        "|---|---|---|",
        "| 1,000 | 0.0123 | 1,500 |",
        "| 10,000 | 1.23 | 15,000 |",
        "| growth | n^2.00 | n^1.00 |",
    ]


def test_the_same_curves_give_the_same_picture(tmp_path: Path) -> None:
    panels = {"one": ("images", [10, 100], {"s": [1.0, 10.0], "MB": [0.0, 3.0]})}
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, panels)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text() and "s ∝ n^1.00" in text and "n, images" in text


def test_every_curve_has_its_points() -> None:
    assert SERIES.keys() == POINTS.keys()
    assert set(SERIES["pixels"].sizes) == SHAPES.keys()


def test_a_point_is_measured_in_a_process_and_one_that_fails_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    found = scaling.point("sampler", 40)
    assert found is not None and found["s"] > 0 and found.keys() == {"s", "MB"}
    assert scaling.point("sampler", 3) is None
    assert (
        "sampler 3: ended with 1 (cuhs.errors.CuhsError: train.identities: 16 identities" in capsys.readouterr().out
    )
