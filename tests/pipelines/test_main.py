"""The command ``cuhs``: its help, and what a mistyped command is told."""

import pytest

from pipelines.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_what_is_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: cuhs {name} ")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("leaderbord", "leaderboard"),
        ("pretrain_hsl", "pretrain"),
        ("build_dataset", "build"),
        ("evalute", "evaluate"),
    ],
)
def test_a_mistyped_command_is_told_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err == f"error: {typed}: no such command; did you mean {meant}?\n"


def test_a_command_like_no_other_is_told_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyz"]) == 2
    assert capsys.readouterr().err == f"error: xyz: no such command; there are {', '.join(COMMANDS)}\n"


def test_the_help_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)
