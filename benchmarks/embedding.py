"""Features of a split beside the bare network on batches in memory: `python -m benchmarks.embedding`.

`embed` decodes, resizes and normalises images, and computes with folded normalisation. The limit is the folded
network alone; the network as it was trained shows what folding gains. All three by turns.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader, batches
from cuhs.machine import usable_cpus
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.network.folding import folded
from cuhs.retrieval import embed
from examples.train_without_pipeline import draw_and_build

STREAMS = {"bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 5}, "head_shoulder": {"kind": "part"}}
BATCH = 64


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--size", type=int, nargs=2, default=(160, 64), metavar=("HEIGHT", "WIDTH"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    values = {"backbone": "mobilenet_v2", "weights": "none", "channels": 128, "streams": STREAMS}
    config = NetworkConfig.model_validate(values)
    network = CUHS(config, make_hsl(config)).eval().to(memory_format=torch.channels_last)
    lighter = folded(network)
    with tempfile.TemporaryDirectory() as folder:
        draw_and_build(Path(folder) / "raw", Path(folder) / "dataset", 60)
        images = PersonImages(Path(folder) / "dataset", "gallery", *arguments.size)
    ready = [part.images for part in Loader(images, batches(len(images), BATCH), 0)]

    @torch.inference_mode()
    def bare(model: CUHS) -> None:
        for part in ready:
            model.embed(part)

    ways: dict[str, Callable[[], object]] = {
        "embed": lambda: embed(network, images, BATCH, torch.device("cpu")),
        "the folded network alone": lambda: bare(lighter),
        "the network as it was trained": lambda: bare(network),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(arguments.repeats + 1):
        for way, work in ways.items():
            took = seconds(work)
            if repeat:  # the first time, memory is allocated
                times[way].append(took)
    medians = {way: statistics.median(each) for way, each in times.items()}
    for way, median in medians.items():
        print(f"{way:<30} {len(images) / median:8.1f} images a second")
    ours, alone, trained = medians.values()
    print(json.dumps({"embed_of_folded": round(alone / ours, 3), "folded_gain": round(trained / alone, 2)}))


if __name__ == "__main__":
    main()
