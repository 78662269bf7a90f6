"""Raw folders of noise images, and builds of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cuhs.data.build import build
from cuhs.data.shards import read_split
from cuhs.data.sources import SourceFiles


def save_picture(
    path: Path, seed: int = 0, size: tuple[int, int] = (16, 40), mode: str = "RGB", **save: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **save)
    return path


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Saves noise of a seed, ``size`` (width, height) and ``mode``."""
    return save_picture


@pytest.fixture
def market() -> Callable[[Path], SourceFiles]:
    """Writes two training, two testing identities, a distractor and junk, with labels: 11 images."""

    def write(root: Path) -> SourceFiles:
        names = [f"bounding_box_train/000{pid}_c{cam}s1_000001_01.jpg" for pid in (1, 2) for cam in (1, 2)]
        names += [f"query/000{pid}_c1s1_000001_00.jpg" for pid in (3, 4)]
        names += [f"bounding_box_test/000{pid}_c2s1_000001_01.jpg" for pid in (0, 3, 4)]
        names += ["bounding_box_test/-1_c3s1_000001_01.jpg", "bounding_box_test/0004_c3s1_000001_01.jpg"]
        for seed, name in enumerate(names):
            save_picture(root / name, seed)
        (root / "clothing.csv").write_text("pid,colour\n1,black\n3,black\n4,white\n")
        (root / "boxes.csv").write_text(
            "file,x1,y1,x2,y2\nquery/0003_c1s1_000001_00.jpg,-4,0,8,10\n"
            "0001_c1s1_000001_01.jpg,20,0,30,10\nabsent.jpg,0,0,1,1\n"
        )
        return SourceFiles("market1501", root, clothing=root / "clothing.csv", boxes=root / "boxes.csv")

    return write


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Builds sources into ``tmp_path / out`` and returns the summary."""

    def run(sources: dict[str, SourceFiles], out: str = "out", **options: object) -> dict[str, Any]:
        return build(
            **{"name": "small", "protocol": "benchmark", "sources": sources, "out": tmp_path / out} | options
        )

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows of a built dataset by path."""

    def read(out: str = "out") -> dict[str, dict[str, Any]]:
        splits = (read_split(tmp_path / out, split).to_pylist() for split in ("train", "query", "gallery"))
        return {row["path"]: row for split in splits for row in split}

    return read
