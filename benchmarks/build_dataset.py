"""``python -m benchmarks.build_dataset``: builds a dataset of Market-1501's size, beside bare decoding of its files.

The files have Market-1501's names and number; their pixels are noise that gives files of about the same size. No
build can be faster than decoding them with Pillow on the same cores, which is measured before and after the build.
The last line is JSON.
"""

import argparse
import io
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.build.parallel import map_on_cores
from cuhs.build.report.page import counts_table
from cuhs.machine import usable_cpus
from cuhs.raw.config import Source

TRAIN, QUERY, GALLERY = 12_936, 3_368, 13_115
DISTRACTORS, JUNK = 2_798, 3_819
TRAIN_PEOPLE, TEST_PEOPLE = 751, 750
CAMERAS = 6
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build_dataset", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the images, for a quick look")
    share = parser.parse_args().share
    folder = Path(tempfile.mkdtemp(prefix="market1501-"))
    try:
        start = time.perf_counter()
        batches = photograph(folder / "raw", share)
        images = sum(map(len, batches))
        print(f"{images:,} images in {time.perf_counter() - start:.0f} s; {usable_cpus()} cores")
        bare = [decode_all(batches)]
        with Memory() as memory:
            start = time.perf_counter()
            sources = {"market1501": Source(layout="market1501", folder="raw")}
            summary = build(DatasetConfig(name="market1501", raw=folder, sources=sources), folder / "dataset")
            seconds = time.perf_counter() - start
        bare.append(decode_all(batches))
    finally:
        shutil.rmtree(folder)
    Console(width=110).print(counts_table(summary))
    figures = {
        "images": images,
        "cores": usable_cpus(),
        "seconds": round(seconds, 1),
        "images_per_second": round(images / seconds),
        "bare_decode_images_per_second": round(images / min(bare)),
        "times_bare_decode": round(seconds / min(bare), 2),
        "peak_mb": round(memory.peak / 2**20),
        "peak_mb_before": round(memory.before / 2**20),
    }
    print(json.dumps(figures))


def total() -> int:
    """The number of images of Market-1501."""
    return TRAIN + QUERY + GALLERY + DISTRACTORS + JUNK


def photograph(root: Path, share: float) -> list[list[str]]:
    """Write the raw folder; returns the files in batches."""
    rng = np.random.default_rng(0)
    files = []
    for name in names(share):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A grid as fine as the waves that the search for duplicates compares, so that no two images look alike.
        grid = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
        grid.resize((64, 128), Image.Resampling.BICUBIC).save(path, quality=60)
        files.append(str(path))
    return [files[start : start + BATCH] for start in range(0, len(files), BATCH)]


def names(share: float) -> Iterator[str]:
    """File names such as ``0002_c1s1_000451_03.jpg``; people alternate, and each goes through all cameras."""
    test = range(TRAIN_PEOPLE + 1, TRAIN_PEOPLE + TEST_PEOPLE + 1)
    parts = (
        ("bounding_box_train", range(1, TRAIN_PEOPLE + 1), TRAIN),
        ("query", test, QUERY),
        ("bounding_box_test", test, GALLERY),
        ("bounding_box_test", range(0, 1), DISTRACTORS),
        ("bounding_box_test", range(-1, 0), JUNK),
    )
    for folder, people, count in parts:
        for number in range(round(share * count)):
            turn, place = divmod(number, len(people))
            pid = people[place]
            camera = 1 + (turn + (folder == "bounding_box_test")) % CAMERAS
            yield f"{folder}/{f'{pid:04d}' if pid >= 0 else pid}_c{camera}s1_{turn:06d}_{place % 100:02d}.jpg"


def decode_all(batches: list[list[str]]) -> float:
    """The seconds that all cores take to decode every file."""
    start = time.perf_counter()
    for _ in map_on_cores(decode, batches):
        pass
    return time.perf_counter() - start


def decode(files: list[str]) -> None:
    for file in files:
        with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
            image.load()


class Memory:
    """The peak memory of this process and its children, in bytes; shared pages count once."""

    def __enter__(self) -> "Memory":
        self.before = self.peak = self._now()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.2):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        held = 0
        process = psutil.Process()
        for each in (process, *process.children(recursive=True)):
            try:
                held += each.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return held


if __name__ == "__main__":
    main()
