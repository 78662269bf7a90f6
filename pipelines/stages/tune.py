"""Stage ``tune``: searches the parameters that ``tune.space`` names, judged on held-out training identities."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params
from pipelines.cluster.entry import run_training


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``, here or as a job on a cluster; returns the exit code."""
    cli.parse_nothing("cuhs tune", __doc__, argv)
    return run_training("tune", run)


def run() -> None:
    """Search in this process."""
    p = params.load()
    # Not at the top: it takes seconds to import.
    from pipelines.tuning.search import search

    search(p)


if __name__ == "__main__":
    sys.exit(main())
