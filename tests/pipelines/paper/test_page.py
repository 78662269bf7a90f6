"""What trainings give together, and how a finished table reads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation.intervals import interval, paired
from pipelines.paper import page
from pipelines.paper.estimates import difference, estimates
from pipelines.paper.tables import PaperTable
from pipelines.paper.trainings import Evaluated, plan

TABLE = PaperTable.model_validate(
    {
        "title": "Streams",
        "minus": "BN",
        "rows": [
            {"name": "Other", "missing": "not part of this project", "paper": {"fg_reid": {"black": [70.0, 71.0]}}},
            {"name": "BN", "overrides": ["variant=bn"], "mib": 91.7, "paper": {"fg_reid": {"black": [72.8, 74.9]}}},
            {"name": "CUHS", "overrides": ["variant=cuhs"], "paper": {"fg_reid": {"black": [80.1, 82.5]}}},
        ],
    }
)


def evaluated(ap: np.ndarray, shift: float = 0.0) -> Evaluated:
    """An evaluation of queries of 12 identities; rank 1 is a hit where the precision is above one half."""
    names = [(f"q{i}", f"p{i // 3:02d}") for i in range(len(ap))]
    values = np.clip(ap + shift, 0, 1)
    queries = {query: (pid, float(value)) for (query, pid), value in zip(names, values, strict=True)}
    hits = {query: (pid, float(value > 0.5)) for query, (pid, value) in queries.items()}
    return Evaluated({"mAP": {"black": queries}, "rank1": {"black": hits}}, mib=9.1)


@pytest.fixture
def ap() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.8, 36)


def test_a_plan_runs_each_row_with_each_seed() -> None:
    planned = plan(TABLE, ("data=fg_synth",), 2)
    assert [str(training) for training in planned] == ["BN, seed 0", "BN, seed 1", "CUHS, seed 0", "CUHS, seed 1"]
    assert planned[3].overrides == ("data=fg_synth", "variant=cuhs", "train.seed=1")


def test_estimates_are_over_people_and_trainings(ap: np.ndarray) -> None:
    trainings = [evaluated(ap, shift) for shift in (-0.05, 0.0, 0.05)]
    found = estimates(trainings)["black"]
    values = np.stack([ap - 0.05, ap, ap + 0.05])[..., None]
    pids = np.arange(36) // 3
    low, high = interval(100 * values, pids)
    assert found["mAP"] == pytest.approx((100 * ap.mean(), low[0], high[0]))
    assert found["rank1"].mean == pytest.approx(100 * (values > 0.5).mean())
    expected = paired(100 * values[..., 0], 100 * (ap[None] - 0.1), pids)
    assert difference(trainings, [evaluated(ap, -0.1)], "black") == pytest.approx(expected)


@pytest.fixture
def lines(ap: np.ndarray) -> Iterator[list[page.Line]]:
    planned = plan(TABLE, (), 2)
    results = {t.overrides: evaluated(ap, 0.1 * (t.row.name == "CUHS") + 0.01 * t.seed) for t in planned}
    yield page.lines(TABLE, planned, results, "fg_synth")


def test_a_row_shows_the_paper_s_figures_ours_and_the_difference(lines: list[page.Line], ap: np.ndarray) -> None:
    other, bn, cuhs = lines
    assert page.cells(other, "black")[:2] == ["70.0 / 71.0", "not part of this project"]
    assert page.cells(bn, "black")[0] == "72.8 / 74.9"
    assert page.cells(bn, "black")[3:] == ["–", "–", "91.7 / 9.1"]
    assert page.cells(cuhs, "black")[1].startswith(f"{100 * ap.mean() + 10.5:.1f} (")
    assert page.cells(cuhs, "black")[3].startswith("+10.0 (")
    text = page.markdown("t", ["one note"], lines, "BN")
    assert "| CUHS | 80.1 / 82.5 |" in text
    assert "* one note" in text


def test_a_failed_training_leaves_the_others_and_says_why(ap: np.ndarray) -> None:
    planned = plan(TABLE, (), 1)
    results = {planned[0].overrides: CuhsError("no room left"), planned[1].overrides: evaluated(ap)}
    _, bn, cuhs = page.lines(TABLE, planned, results, "fg_synth")
    assert page.cells(bn, "black")[1] == "no room left"
    assert cuhs.ours
    assert cuhs.minus == {}


def test_the_page_needs_no_other_file_and_shows_names_as_text(lines: list[page.Line], tmp_path: Path) -> None:
    table = TABLE.model_copy(update={"curve": True, "minus": "<b>BN</b>"})
    page.write_page(tmp_path / "t.html", "table6: Streams", ["a note"], lines, table)
    html = (tmp_path / "t.html").read_text()
    assert "&lt;b&gt;BN&lt;/b&gt;" in html
    assert "data:image/webp;base64," in html
    assert 'src="http' not in html
