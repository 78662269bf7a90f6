"""Stage ``train``: trains the network (Eq. 14) with the localiser frozen."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params
from pipelines.cluster.entry import run_training


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``, here or as a job on a cluster; returns the exit code."""
    cli.parse_nothing("cuhs train", __doc__, argv)
    return run_training("train", run)


def run() -> None:
    """Train ``models/cuhs`` in this process."""
    p = params.load()
    # Not at the top: it takes seconds to import.
    from pipelines.training.network import train_network

    train_network(p)


if __name__ == "__main__":
    sys.exit(main())
