"""Write FG-Synth, the dataset that needs no download: ``python -m pipelines.stages.synthesize``."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import track

from cuhs.synthetic.layouts import synthesize
from cuhs.synthetic.orders import Order
from pipelines.base import cli, params


def main() -> None:
    """Read ``params.yaml`` and write the raw images with a progress bar on stderr."""
    wanted = params.load().synthesize
    console = Console(stderr=True)

    def watch(orders: Sequence[Order]) -> Iterable[Order]:
        return track(orders, description="drawing people", console=console)

    orders = synthesize(wanted.folder, wanted.seed, wanted.identities, wanted.images, watch)
    people = sum(map(len, orders.colours.values()))
    console.print(f"FG-Synth: {len(orders.images)} images of {people} people in {wanted.folder}")


if __name__ == "__main__":
    cli.run(main)
