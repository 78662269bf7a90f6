"""Print the table of the last evaluation, and where to find its report and runs."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, figures, params
from pipelines.base.paths import METRICS, REPORT


def main(argv: Sequence[str] | None = None) -> int:
    """Print ``reports/metrics.json`` and where the report and the MLflow UI are; returns the exit code."""
    cli.parse_nothing("cuhs summary", __doc__, argv)
    return cli.run(_show)


def _show() -> None:
    # Not at the top: --help need not wait for it.
    from pipelines.base.console import console, summary_table

    p = params.load()
    summary_table(figures.METRICS.read(METRICS), f"{p.variant} on {p.data.name} ({p.profile}), 95 % intervals")
    console.print(f"report:  {REPORT.resolve().as_uri()}", soft_wrap=True)
    console.print("runs:    make ui")


if __name__ == "__main__":
    sys.exit(main())
