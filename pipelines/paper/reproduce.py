"""Reproduces tables of the paper: trains what is missing, compares, writes the pages."""

from collections.abc import Sequence
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base.console import console, progress
from pipelines.base.paths import REPORTS
from pipelines.paper import page
from pipelines.paper.tables import STAND_IN, PaperTable, tables
from pipelines.paper.trainings import Evaluated, Training, plan, train_all

FOLDER = REPORTS / "paper"


def reproduce(names: Sequence[str], data: str, profile: str, seeds: int, jobs: int, overrides: Sequence[str]) -> None:
    """Print the tables, and write each to ``reports/paper`` as Markdown and HTML.

    Args:
        names: tables of ``tables.yaml``, or ``all``.
        data: a configuration of the data, whose name selects the paper's figures.
        profile: a configuration of the size.
        seeds: trainings of each row.
        jobs: trainings at a time.
        overrides: further overrides for all trainings.

    Raises:
        CuhsError: there is no such table, there are uncommitted changes, or all trainings failed.
    """
    known = tables()
    chosen = {name: known[name] for name in (known if "all" in names else names)}
    common = (f"data={data}", f"profile={profile}", *overrides)
    planned = {name: plan(table, common, seeds) for name, table in chosen.items()}
    trainings = [training for each in planned.values() for training in each]
    with progress() as bar:
        task = bar.add_task("data, localiser and trainings", total=len({t.overrides for t in trainings}))

        def done(training: Training, found: Evaluated | CuhsError) -> None:
            said = found if isinstance(found, CuhsError) else f"mAP {_mean(found):.1f}"
            bar.console.print(f"{training}: {said}", highlight=False, soft_wrap=True)
            bar.advance(task)

        results = train_all(trainings, jobs, done)
    failed = [found for found in results.values() if isinstance(found, CuhsError)]
    if len(failed) == len(results):
        raise failed[0]
    for name, table in chosen.items():
        _write(name, table, planned[name], results, data, profile, seeds)
    if failed:
        raise CuhsError(f"{len(failed)} of {len(results)} trainings failed; the same command tries them again")


def _write(
    name: str,
    table: PaperTable,
    trainings: list[Training],
    results: dict[tuple[str, ...], Evaluated | CuhsError],
    data: str,
    profile: str,
    seeds: int,
) -> None:
    made = page.lines(table, trainings, results, data)
    stands_in = not any(data in row.paper for row in table.rows) and any(row.paper for row in table.rows)
    notes = [
        f"Data {data}, profile {profile}; "
        + ("one training of each row." if seeds == 1 else f"{seeds} trainings of each row."),
        "Intervals are 95 %, over the people asked for"
        + (" only: one training says nothing of other seeds." if seeds == 1 else " and the seeds of the training."),
        *([f"The paper's figures are those of {STAND_IN}: it has none for {data}."] if stands_in else []),
    ]
    title = f"{name}: {table.title}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = page.markdown(title, notes, made, table.minus)
    Path(FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    page.write_page(FOLDER / f"{name}.html", title, notes, made, table)
    console.print(text, highlight=False, soft_wrap=True)
    console.print(f"{FOLDER / name}.html", highlight=False)


def _mean(found: Evaluated) -> float:
    groups = found.queries["mAP"]
    values = [value for _, value in groups[next(iter(groups))].values()]
    return 100 * sum(values) / len(values)
