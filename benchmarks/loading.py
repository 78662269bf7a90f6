"""The time of a batch with and without the cache of decoded images: `python -m benchmarks.loading`.

32 images of an FG-Synth of 1,500 are read, collated and augmented on the CPU. The epoch in which the cache fills is
not counted.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from cuhs.data.augment import Augmentation
from cuhs.data.cache import Cache
from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader
from cuhs.data.sampler import IdentitySampler
from examples.train_without_pipeline import draw_and_build

SIZES, PROCESSES, CPU = ((96, 48), (384, 128)), (0, 2), torch.device("cpu")


def milliseconds(images: PersonImages, processes: int, epochs: int) -> float:
    """The median over the epochs, all but the first, of the time of a batch."""
    sampler = IdentitySampler(images.labels, 8, 4, seed=0)
    loader, times = Loader(images, sampler, processes), []
    for number in range(epochs + 1):
        sampler.set_epoch(number)
        began = time.perf_counter()
        for batch in loader:
            batch.inputs(CPU)
        times.append((time.perf_counter() - began) / len(sampler) * 1000)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    augmentation = Augmentation(pad=10, jitter=0.2, erasing=0.5)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        draw_and_build(Path(folder) / "raw", Path(folder) / "dataset", 150)
        cache = Cache(Path(folder) / "decoded", 1024)
        print(f"{'pixels':>8} {'processes':>9} {'decoded each time':>18} {'decoded once':>13}   ms a batch")
        for height, width in SIZES:
            for processes in PROCESSES:
                each, once = (
                    milliseconds(
                        PersonImages(Path(folder) / "dataset", "train", height, width, augmentation, kept),
                        processes,
                        arguments.epochs,
                    )
                    for kept in (None, cache)
                )
                print(f"{f'{height}x{width}':>8} {processes:9} {each:18.1f} {once:13.1f}", flush=True)
                found[f"cache_gain_{height}x{width}_{processes}"] = round(each / once, 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
