"""Stage ``pretrain_hsl`` (``cuhs pretrain``): trains the head-shoulder localiser (Eq. 15), before the network."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params
from pipelines.cluster.entry import run_training


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``, here or as a job on a cluster; returns the exit code."""
    cli.parse_nothing("cuhs pretrain", __doc__, argv)
    return run_training("pretrain_hsl", run)


def run() -> None:
    """Train ``models/hsl`` in this process."""
    p = params.load()
    # Not at the top: it takes seconds to import.
    import torch

    from pipelines.training.localiser import train_localiser

    torch.set_num_threads(1)
    train_localiser(p)


if __name__ == "__main__":
    sys.exit(main())
