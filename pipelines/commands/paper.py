"""The paper's tables by one command: trains every row, then prints the paper's figures beside ours.

Rows run as DVC experiments in clones of the project (``runs/paper``), at the last commit. A row that was done before
with the same code, data and parameters is taken from DVC's cache, and a training that was broken off goes on from its
checkpoint: run the same command again. Tables are written to ``reports/paper`` as Markdown and HTML.
"""

import argparse
import sys
from collections.abc import Sequence

from pipelines.base import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Reproduce tables; returns the exit code."""
    parser = cli.parser("cuhs paper", __doc__)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="table2 to table9, fig5, or all")
    parser.add_argument("--data", default="fg_synth", help="a configuration in pipelines/conf/data (fg_synth)")
    parser.add_argument(
        "--profile", default="quickstart", help="a configuration in pipelines/conf/profile (quickstart)"
    )
    parser.add_argument("--seeds", type=cli.count, help="trainings of each row (3; with fg_synth 1)")
    parser.add_argument("--jobs", type=cli.count, default=1, help="trainings at a time (1)")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all rows")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _paper(arguments))


def _paper(arguments: argparse.Namespace) -> None:
    # Not at the top: it takes seconds to import.
    from cuhs.errors import CuhsError
    from cuhs.machine import usable_cpus
    from pipelines.paper.reproduce import reproduce
    from pipelines.paper.tables import tables

    if unknown := [name for name in arguments.tables if name not in {*tables(), "all"}]:
        raise CuhsError(f"{unknown[0]}: no such table; there are {', '.join(tables())} and all")
    seeds = arguments.seeds or (1 if arguments.data == "fg_synth" else 3)
    # Two trainings at a time on as many threads as there are cores would wait for each other.
    threads = f"compute.cpus_per_worker={max(1, usable_cpus() // arguments.jobs)}"
    overrides = [threads, *arguments.overrides]
    reproduce(arguments.tables, arguments.data, arguments.profile, seeds, arguments.jobs, overrides)


if __name__ == "__main__":
    sys.exit(main())
