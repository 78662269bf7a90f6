"""Features of a split beside the bare network on batches in memory: `python -m benchmarks.embedding`.

`embed` decodes, resizes and normalises images, and computes with folded normalisation. The limit is the folded
network alone; the network as it was trained shows what folding gains. All three by turns; ``--device cuda`` does all
three on a GPU, too.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.steps import network as random_network
from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader, batches
from cuhs.machine import usable_cpus
from cuhs.network.cuhs import CUHS
from cuhs.network.folding import folded
from cuhs.retrieval import embed
from examples.train_without_pipeline import draw_and_build

BATCH = 64


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(network: CUHS, images: PersonImages, device: torch.device, repeats: int) -> dict[str, float]:
    """Compute by turns, each ending on the CPU; prints images a second.

    Returns:
        ``images_per_second`` of ``embed``, ``embed_of_folded``, its share of the folded network's, and
        ``folded_gain``, the folded network's over the trained one's.
    """
    network = copy.deepcopy(network).to(device)
    lighter = folded(network)
    loader = Loader(images, batches(len(images), BATCH), 0)
    ready = [part.inputs(device)[0] for part in loader]

    @torch.inference_mode()
    def bare(model: CUHS) -> None:
        torch.cat([model.embed(part) for part in ready]).cpu()

    ways: dict[str, Callable[[], object]] = {
        "embed": lambda: embed(network, images, BATCH, device),
        "the folded network alone": lambda: bare(lighter),
        "the network as it was trained": lambda: bare(network),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, work in ways.items():
            took = seconds(work)
            if repeat:  # the first time, memory is allocated
                times[way].append(took)
    medians = {way: statistics.median(each) for way, each in times.items()}
    for way, median in medians.items():
        print(f"{f'{way} ({device})':<38} {len(images) / median:8.1f} images a second", flush=True)
    ours, alone, trained = medians.values()
    return {
        "images_per_second": round(len(images) / ours, 1),
        "embed_of_folded": round(alone / ours, 3),
        "folded_gain": round(trained / alone, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--size", type=int, nargs=2, default=(160, 64), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--device", type=torch.device, help="besides the CPU, such as `cuda`")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = random_network().eval().to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        draw_and_build(Path(folder) / "raw", Path(folder) / "dataset", 60)
        images = PersonImages(Path(folder) / "dataset", "gallery", *arguments.size)
    figures = compare(network, images, torch.device("cpu"), arguments.repeats)
    if arguments.device:
        there = compare(network, images, arguments.device, arguments.repeats)
        figures |= {f"{name}_{arguments.device.type}": value for name, value in there.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
