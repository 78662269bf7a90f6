"""Build ``data/dataset`` from the raw folders that ``params.yaml`` names: the stage ``build_dataset``."""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params
from pipelines.stages import build_dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Build, or with ``--preview`` show how names and labels are read; returns the exit code."""
    parser = cli.parser("cuhs build", __doc__)
    parser.add_argument(
        "--preview", action="store_true", help="only show how names and labels are read; no image is opened"
    )
    return cli.run(_preview if parser.parse_args(argv).preview else build_dataset.run)


def _preview() -> None:
    # Not at the top: --help need not wait for it.
    from pipelines.commands.preview import preview

    config = params.load().data
    for name, source in config.located().items():
        preview(name, source)


if __name__ == "__main__":
    sys.exit(main())
