"""Stage ``evaluate``: computes CMC and mAP of every group with intervals, and writes the report."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params
from pipelines.cluster.entry import run_stage


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``, here or as a job on a cluster; returns the exit code."""
    cli.parse_nothing("cuhs evaluate", __doc__, argv)
    return run_stage("evaluate", run)


def run() -> None:
    """Evaluate ``models/cuhs`` in this process."""
    p = params.load()
    # Not at the top: it takes seconds to import.
    from pipelines.evaluation.evaluate import evaluate

    evaluate(p)


if __name__ == "__main__":
    sys.exit(main())
