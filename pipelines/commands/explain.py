"""What does the model look at? Draws the head-shoulder box and each branch's attention for images of your choice.

One sheet an image (PNG): the image, the predicted box in yellow (and the annotated one in blue, for an image of the
built dataset), and a map of each branch. Crosses mark the cells that the first IN branch hides from the second.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.base import cli
from pipelines.base.paths import MODEL, REPORTS


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheets; returns the exit code."""
    parser = cli.parser("cuhs explain", __doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file, or a path as reports/queries.csv has it")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of a model (models/cuhs)")
    parser.add_argument("-o", "--out", type=Path, default=REPORTS / "explained", help="folder (reports/explained)")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _explain(arguments))


def _explain(arguments: argparse.Namespace) -> None:
    # Not at the top: it takes seconds to import.
    from pipelines.evaluation.explanation import explain

    explain(arguments.images, arguments.model, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
