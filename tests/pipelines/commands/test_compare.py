"""``cuhs compare`` on files of queries."""

from pathlib import Path

import pytest

from pipelines.commands.compare import main


def written(path: Path, shift: float) -> str:
    rows = [f"all,q{i},p{i // 2},c,{0.1 * (i % 5) + shift:.3f},{1 + i % 5}" for i in range(20)]
    path.write_text("group,query,pid,camid,ap,first_hit\n" + "\n".join(rows) + "\n")
    return str(path)


def test_trainings_are_given_with_commas_between_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = ",".join(written(tmp_path / f"a{i}.csv", 0.1 + 0.01 * i) for i in range(3))
    assert main([a, written(tmp_path / "b.csv", 0.0)]) == 0
    assert "+11.0" in capsys.readouterr().err


def test_no_evaluation_on_a_side_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([",", written(tmp_path / "b.csv", 0.0)]) == 2
    assert "error: give at least one evaluation on each side" in capsys.readouterr().err
