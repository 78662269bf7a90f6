"""What stages show on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

# What is shown holds names that people chose: a group may be called `[/x]` and a folder `:smile:`.
console = Console(stderr=True, markup=False, emoji=False)


def progress() -> Progress:
    """A progress bar for each task, with counts and the time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def note(line: str) -> None:
    """Print a note for the user in yellow."""
    console.print(f"note: {line}", style="yellow", highlight=False, soft_wrap=True)


def summary_table(metrics: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print the measures of each group, with the 95 % interval of mAP and rank-1."""
    table = Table(title=title)
    for column in ("group", "mAP", "rank-1", "rank-5", "rank-10", "queries", "gallery"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group, values in metrics.items():
        table.add_row(
            group,
            *(_with_interval(values, key) for key in ("mAP", "rank1")),
            *(_number(values.get(key)) for key in ("rank5", "rank10")),
            *(str(values.get(key, "–")) for key in ("queries", "gallery")),
        )
    console.print(table)


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    if values.get(f"{key}_low") is None:
        return _number(values.get(key))
    return f"{values[key]:.1f} ({values[f'{key}_low']:.1f}–{values[f'{key}_high']:.1f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
