"""Stage ``build_dataset``: builds the dataset that every later stage reads from the raw folders."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.base import cli, params
from pipelines.base.paths import DATASET

if TYPE_CHECKING:
    from rich.progress import TaskID


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``; returns the exit code."""
    cli.parse_nothing("cuhs build", __doc__, argv)
    return cli.run(run)


def run() -> None:
    """Build ``data/dataset``, with a progress bar for each step on stderr."""
    config = params.load().data
    # Not at the top: it takes a second to import.
    from cuhs.build.build import build
    from cuhs.build.report.page import counts_table, warnings
    from cuhs.raw.parts import in_words
    from pipelines.base.console import console, note, progress
    from pipelines.cluster.parallel import mapper

    with progress() as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        summary = build(config, DATASET, mapper(), show)
    for source, parts in summary["parts"].items():
        console.print(f"{source}: {in_words(parts)}", highlight=False, soft_wrap=True)
    console.print(counts_table(summary))
    for line in warnings(summary):
        note(line)


if __name__ == "__main__":
    sys.exit(main())
