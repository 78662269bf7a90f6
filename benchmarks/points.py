"""``python -m benchmarks.points POINT SIZE``: one point of a curve of :mod:`benchmarks.scaling`, in its own process.

The last line is JSON: ``s``, seconds of one unit of work (medians where it is repeated), ``MB`` of memory on top of
what lay there before, and what else a point measures; or ``skipped``, the reason why this machine cannot measure it.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from benchmarks import own, ray_overhead
from benchmarks.build_dataset import Memory, photograph, total
from benchmarks.features import people
from benchmarks.peers.runner import memory
from benchmarks.steps import network, product_flops, step_of
from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.build.packing import SHARD_ROWS
from cuhs.data.dataset import PersonImages
from cuhs.data.sampler import IdentitySampler
from cuhs.data.shards import write_shard
from cuhs.machine import usable_cpus
from cuhs.raw.config import Source
from cuhs.training.flops import training_flops
from cuhs.training.reid import Classified

Point = dict[str, float]
BRANCHES, BATCH, REPEATS = 4, 32, 5
# FG-reID's images of an identity.
IMAGES_PER_IDENTITY = 24
QUERIES, DIMENSIONS = 64, 512
# Height and width of an image, by its number of pixels.
SHAPES = {height * width: (height, width) for height, width in ((96, 48), (160, 64), (256, 128), (384, 128))}
# Classifiers, their gradients and Adam's two moments; the logits of a batch, and three arrays like them in the loss.
COPIES = 4


class Skipped(Exception):
    """This machine cannot measure the point."""


class Widths(nn.Module):
    """Stands for a network: its features are given, ``channels`` for each of :data:`BRANCHES` branches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widths = {f"branch_{number}": channels for number in range(BRANCHES)}
        self.mined = tuple(self.widths)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return (n, c) of each branch from the (branches, n, c) given."""
        return dict(zip(self.widths, features, strict=True))

    def classified(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features as they are, as without a neck."""
        return features


def build_dataset(images: int) -> Point:
    """Build a dataset of synthetic pixels from Market-1501's file names, with all processes' memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = sum(map(len, photograph(folder / "raw", images / total())))
        sources = {"market1501": Source(layout="market1501", folder="raw")}
        with Memory() as used:
            began = time.perf_counter()
            build(DatasetConfig(name="market1501", raw=folder, sources=sources), folder / "dataset")
            seconds = time.perf_counter() - began
    return {"images/s": written / seconds, "s": seconds, "MB": (used.peak - used.before) / 1e6}


def open_images(images: int) -> Point:
    """Open a split of images of 100 bytes each, so that labels are what takes memory."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for start in range(0, images, SHARD_ROWS):
            rows = map(_row, range(start, min(start + SHARD_ROWS, images)))
            write_shard(root / f"train/market1501-{start // SHARD_ROWS:05d}.parquet", rows)
        return _once(lambda: PersonImages(root, "train", 96, 48))


def _row(number: int) -> dict[str, object]:
    pid, camera = number // IMAGES_PER_IDENTITY, number % 6
    return {
        "image": bytes(100),
        "pid": f"market1501/{pid:07d}",
        "camid": f"market1501/{camera}",
        "source": "market1501",
        "colour": "black",
        "colour_origin": "label",
        "colour_confidence": None,
        "box": [0.1, 0.0, 0.9, 0.3],
        "box_origin": "annotation",
        "path": f"bounding_box_train/{pid:07d}_c{camera}s1_{number:07d}_00.jpg",
        "groups": ["all", "black"],
        "junk": False,
    }


def narrow_classifier(identities: int) -> Point:
    """Do a training step of the classifiers alone, 128 channels each."""
    return _classifier(128, identities)


def wide_classifier(identities: int) -> Point:
    """Do a training step of the classifiers alone, 512 channels each."""
    return _classifier(512, identities)


def _classifier(channels: int, identities: int) -> Point:
    needed = 4 * COPIES * BRANCHES * identities * (channels + BATCH)
    _check_memory(needed)
    features = torch.randn(BRANCHES, BATCH, channels, requires_grad=True)
    labels = torch.arange(BATCH) // 4 % identities
    before = memory("VmRSS")
    seconds = _repeated(step_of(Classified(Widths(channels), identities), features, labels))
    return {"s": seconds, "MB": _peak() - before}


def sampler(identities: int) -> Point:
    """Draw the batches of an epoch, of 16 identities with 4 images each."""
    labels = np.repeat(np.arange(identities), IMAGES_PER_IDENTITY)
    return _once(lambda: IdentitySampler(labels, 16, 4, seed=0))


def gallery(images: int) -> Point:
    """Rank a gallery of 512 dimensions for a query, one of 64."""
    _check_memory(3 * 4 * images * DIMENSIONS)
    with tempfile.TemporaryDirectory() as name:
        own.save(Path(name), *people(QUERIES, images, DIMENSIONS, identities=max(1, images // 20)))
        found = own.run("ranking", Path(name), usable_cpus())
    return {"s": found["seconds"] / QUERIES, "MB": found["extra_mb"]}


def workers(count: int) -> Point:
    """Train as so many plain processes with a thread each, from the second epoch on; memory of the largest one."""
    with tempfile.TemporaryDirectory() as name:
        images = ray_overhead.prepare(Path(name), identities=30)
        values = ray_overhead.team(count, threads=1, epochs=3)
        seconds = ray_overhead.measured("plain", Path(name), values)["seconds"]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    return {"images/s": images / seconds, "s": seconds, "MB": largest}


def pixels(count: int) -> Point:
    """Do a training step of CUHS over MobileNetV2, beside the time that its FLOPs take in a matrix product."""
    height, width = SHAPES[count]
    torch.manual_seed(0)
    model = Classified(network(), 1500)
    flops = BATCH * training_flops(model, height, width)
    limit = flops / product_flops(torch.device("cpu"))
    before = memory("VmRSS")
    seconds = _repeated(step_of(model, torch.randn(BATCH, 3, height, width), torch.arange(BATCH) // 4))
    return {"s": seconds, "limit s": limit, "share of limit": limit / seconds, "MB": _peak() - before}


def _once(work: Callable[[], object]) -> Point:
    before, began = memory("VmRSS"), time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - began
    del kept
    return {"s": seconds, "MB": _peak() - before}


def _repeated(step: Callable[[], None]) -> float:
    times = []
    for _ in range(REPEATS + 1):  # the first time, memory is allocated
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def _peak() -> float:
    """The most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _check_memory(needed: int) -> None:
    free = psutil.virtual_memory().available
    if needed > 0.9 * free:
        raise Skipped(f"needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


POINTS: dict[str, Callable[[int], Point]] = {
    point.__name__: point
    for point in (
        build_dataset,
        open_images,
        narrow_classifier,
        wide_classifier,
        sampler,
        gallery,
        workers,
        pixels,
    )
}

if __name__ == "__main__":
    torch.set_num_threads(usable_cpus())
    try:
        print(json.dumps(POINTS[sys.argv[1]](int(sys.argv[2]))))
    except Skipped as reason:
        print(json.dumps({"skipped": str(reason)}))
