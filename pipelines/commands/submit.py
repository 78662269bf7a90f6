"""Store a stage's inputs, and print the command that submits it to a Ray cluster by hand.

You rarely need this: ``dvc repro`` with ``RAY_ADDRESS=http://…`` submits the job, follows it and fetches its outputs.
"""

import sys
from collections.abc import Sequence

from pipelines.base import cli

STAGES = ("pretrain_hsl", "train", "evaluate", "tune")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the command; returns the exit code."""
    parser = cli.parser("cuhs submit", __doc__)
    parser.add_argument("stage", metavar="STAGE", choices=STAGES, help=f"of dvc.yaml: {', '.join(STAGES)}")
    stage = parser.parse_args(argv).stage
    return cli.run(lambda: _submit(stage))


def _submit(stage: str) -> None:
    # Not at the top: it takes seconds to import.
    from pipelines.cluster.submit import command

    print(command(stage))


if __name__ == "__main__":
    sys.exit(main())
