"""The table of evaluated models."""

from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines.base.console import console
from pipelines.commands import leaderboard
from pipelines.tracking.evaluated_runs import evaluated_runs
from pipelines.tracking.run import Run


@pytest.fixture(scope="module")
def evaluated(store: Path) -> None:
    """Three evaluated models, and one that still trains."""
    for name, value in (("bn", 20.0), ("cuhs", 31.5), ("baseline", 11.25)):
        tags = {"cuhs.data": "cuhk03", "cuhs.data_version": f"{name}0123456789"}
        run = Run.start("exp", name, tags, {})
        run.metrics({"all/mAP": value, "all/mAP_low": value - 2, "all/mAP_high": value + 3})
        if name != "bn":
            run.metrics({"black/mAP": 40 - value})
        run.finish()
    Run.start("exp", "still training", {}, {}).metrics({"train/loss": 3.0})


def test_models_come_best_first_with_interval_and_origin(evaluated: None) -> None:
    found = evaluated_runs("exp", ["all/mAP"])
    assert [(e.name, *e.values["all/mAP"]) for e in found] == [
        ("cuhs", 31.5, 29.5, 34.5),
        ("bn", 20.0, 18.0, 23.0),
        ("baseline", 11.25, 9.25, 14.25),
    ]
    assert (found[0].data, found[0].data_version) == ("cuhk03", "cuhs0123456789")


def test_the_table_is_printed(
    evaluated: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 200)
    assert leaderboard.main(["--experiment", "exp"]) == 0
    printed = capsys.readouterr().err
    assert printed.index("31.5") < printed.index("20.0") < printed.index("11.2")
    assert "29.5 – 34.5" in printed and "still training" not in printed


def test_a_narrow_terminal_shows_run_and_figures_whole(
    evaluated: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 80)
    assert leaderboard.main(["--experiment", "exp", "--metric", "all/mAP", "black/mAP"]) == 0
    printed = capsys.readouterr().err
    best = evaluated_runs("exp", ["all/mAP"])[0]
    assert best.run_id in printed and "29.5 – 34.5" in printed and f"cuhk03 {best.data_version[:8]}" in printed


def test_many_metrics_on_a_narrow_terminal_wrap_and_lose_nothing(
    evaluated: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = ["all/mAP", "black/mAP", *["all/mAP"] * 2]
    monkeypatch.setattr(console, "width", 80)
    assert leaderboard.main(["--experiment", "exp", "--metric", *metrics]) == 0
    printed = capsys.readouterr().err
    assert printed.count("34.5") == 3 and "…" not in printed


def test_the_first_of_several_metrics_orders_the_models_that_hold_it(evaluated: None) -> None:
    found = evaluated_runs("exp", ["black/mAP", "all/mAP"])
    assert [(e.name, e.values["black/mAP"][0]) for e in found] == [("baseline", 28.75), ("cuhs", 8.5)]
    other_order = evaluated_runs("exp", ["all/mAP", "black/mAP"])
    assert [e.values["black/mAP"] for e in other_order] == [
        (8.5, None, None),
        (None, None, None),
        (28.75, None, None),
    ]


def test_what_is_not_there_is_one_line(evaluated: None) -> None:
    with pytest.raises(CuhsError, match="nowhere: no such experiment in sqlite"):
        evaluated_runs("nowhere", ["all/mAP"])
    with pytest.raises(CuhsError, match="--metric red/mAP: no run holds it; there are all/mAP"):
        evaluated_runs("exp", ["all/mAP", "red/mAP"])
