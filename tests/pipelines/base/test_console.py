"""Names that people chose are shown as they are, whatever a terminal library reads into them."""

import ast

import pytest
from rich.table import Table

from pipelines.base.console import console, note, progress, summary_table
from tests.imports import ROOT

NAME = "[/x] [red]:smile:{y}"
VALUES = {"mAP": 1.0, "rank1": 2.0, "rank5": 3.0, "rank10": 4.0, "queries": 5, "gallery": 6}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 200)


def test_in_a_table_of_measures(capsys: pytest.CaptureFixture[str]) -> None:
    summary_table({NAME: VALUES}, f"title {NAME}")
    assert capsys.readouterr().err.count(NAME) == 2


def test_in_any_table_and_any_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(NAME, title=NAME)
    table.add_row(NAME)
    console.print(table)
    console.print(f"a line with {NAME}")
    note(NAME)
    assert capsys.readouterr().err.count(NAME) == 5


def test_beside_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as bars:
        bars.update(bars.add_task(NAME, total=1), completed=1)
    assert NAME in capsys.readouterr().err


def test_there_is_no_other_console() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("cuhs", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Console"
    }
    assert makers == {"pipelines/base/console.py"}
