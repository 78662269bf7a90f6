"""Stage ``synthesize``: draws the raw images of FG-Synth, the dataset that needs no download."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipelines.base import cli, params
from pipelines.base.paths import FG_SYNTH

if TYPE_CHECKING:
    from cuhs.synthetic.orders import Order


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage with ``params.yaml``; returns the exit code."""
    cli.parse_nothing("cuhs synthesize", __doc__, argv)
    return cli.run(run)


def run() -> None:
    """Write the raw images, with a progress bar on stderr."""
    wanted = params.load().synthesize
    # Not at the top: it takes a second to import.
    from rich.progress import track

    from cuhs.synthetic.layouts import synthesize
    from pipelines.base.console import console

    def watch(orders: "Sequence[Order]") -> "Iterable[Order]":
        return track(orders, description="drawing people", console=console)

    orders = synthesize(FG_SYNTH, wanted.seed, wanted.identities, wanted.images, watch)
    people = sum(map(len, orders.colours.values()))
    console.print(f"FG-Synth: {len(orders.images)} images of {people} people in {FG_SYNTH}")


if __name__ == "__main__":
    sys.exit(main())
