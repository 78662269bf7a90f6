"""Rank a gallery that is larger than a machine's memory, on Ray.

QUERY is a Parquet file, GALLERY a folder of Parquet files. Their columns are ``feature``, ``pid`` and ``camid``.
Every worker must see the files under the same path.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print mAP, mINP and CMC; returns the exit code."""
    parser = cli.parser("cuhs rank", __doc__)
    parser.add_argument("query", type=Path, metavar="QUERY", help="Parquet file")
    parser.add_argument("gallery", type=Path, metavar="GALLERY", help="folder of Parquet files")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _rank(arguments.query, arguments.gallery))


def _rank(query: Path, gallery: Path) -> None:
    # Not at the top: it takes seconds to import.
    from pipelines.base.console import console
    from pipelines.evaluation.sharded_ranking import rank_files

    files = sorted(gallery.glob("*.parquet"))
    if not files:
        raise CuhsError(f"{gallery}: holds no *.parquet file; name the gallery's folder")
    ranking = rank_files(query, files)
    for name, value in ranking.percentages().items():
        console.print(f"{name:>6}  {value:.2f}")
    console.print(f"{ranking.valid.sum()} queries, {len(ranking.without_match)} more without a match")


if __name__ == "__main__":
    sys.exit(main())
