"""``python -m pipelines.commands.summary``: the last evaluation's table, and where to look further."""

import json

from cuhs.errors import CuhsError
from pipelines.base import cli, params
from pipelines.base.console import console, summary_table
from pipelines.stages.evaluate import METRICS, REPORT


def main() -> None:
    """Print ``reports/metrics.json`` and the places of the report and the MLflow UI."""
    p = params.load()
    if not METRICS.is_file():
        raise CuhsError(f"{METRICS}: missing; nothing has been evaluated yet (dvc repro)")
    summary_table(json.loads(METRICS.read_text()), f"{p.variant} on {p.data.name} ({p.profile}), 95 % intervals")
    console.print(f"report:  {REPORT.resolve().as_uri()}", soft_wrap=True)
    console.print("runs:    make ui   (MLflow at http://127.0.0.1:5000)")


if __name__ == "__main__":
    cli.run(main)
