"""Fixtures that several packages' tests share: raw folders and builds of them, a tiny dataset, a tiny network."""

import copy
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Read when torch is imported, here and in all processes that tests start; see pipelines/__init__.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from PIL import Image

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.data.shards import read_split, write_shard
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.raw.config import Source

# A shell starts what goes to the background deaf to Ctrl-C, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault was felt that a system test made: the figures of docs/operations.md."""
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    rows = [value for report in passed for name, value in report.user_properties if name == "felt"]
    if rows:
        terminalreporter.section("from the fault until all goes on")
        for fault, seconds in rows:
            terminalreporter.write_line(f"{seconds:5.0f} s  {fault}")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums in one order on every machine, and no quarrel over cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests, here and in all processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUHS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def encoded(rng: np.random.Generator, height: int = 64, width: int = 32) -> bytes:
    """A JPEG of two random colours, head and body, with some noise."""
    pixels = np.empty((height, width, 3))
    pixels[: height // 3], pixels[height // 3 :] = rng.uniform(0, 255, (2, 3))
    file = io.BytesIO()
    Image.fromarray((pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def row(rng: np.random.Generator, pid: str, camid: int, number: int, box: list[float] | None) -> dict[str, Any]:
    return {
        "image": encoded(rng),
        "pid": f"made/{pid}",
        "camid": f"made/{camid}",
        "source": "made",
        "colour": "black",
        "colour_origin": "label",
        "colour_confidence": None,
        "box": box,
        "box_origin": box and "annotation",
        "path": f"{pid}_{camid}_{number}.jpg",
        "groups": ["all"],
        "junk": False,
    }


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training identities of four images (the last without a box), two of test; pids out of order."""
    root = tmp_path_factory.mktemp("tiny") / "dataset"
    rng = np.random.default_rng(0)
    train = []
    for pid in ("0007", "0003", "0011", "0001", "0020", "0005"):
        # Each identity has colours of its own, the same in all its images: something to learn.
        seed = int(pid)
        train += [
            row(np.random.default_rng(seed), pid, k % 2, k, None if k == 3 else [0.1, 0.0, 0.9, 0.3 + k / 100])
            for k in range(4)
        ]
    write_shard(root / "train" / "made-00000.parquet", train[:16])
    write_shard(root / "train" / "made-00001.parquet", train[16:])
    for camid, split in enumerate(("query", "gallery")):
        write_shard(root / split / "made-00000.parquet", [row(rng, pid, camid, 0, None) for pid in ("0030", "0031")])
    return root


@pytest.fixture(scope="session")
def tiny_config() -> NetworkConfig:
    """The whole network at its smallest: four features of 8 channels, maps of 4×2 cells at 64×32 pixels."""
    return NetworkConfig.model_validate(
        {
            "backbone": "mobilenet_v2",
            "weights": "none",
            "channels": 8,
            "streams": {
                "bn": {"kind": "global"},
                "in": {"kind": "instance", "top_k": 2},
                "head_shoulder": {"kind": "part"},
            },
        }
    )


@pytest.fixture(scope="session")
def calibrated_network(tiny_config: NetworkConfig) -> CUHS:
    """A network of ``tiny_config`` whose normalisation statistics are those of one random batch.

    With the initial statistics (0 and 1) the maps of a random network in evaluation mode vanish.
    """
    torch.manual_seed(0)
    model = CUHS(tiny_config, make_hsl(tiny_config))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 32))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


@pytest.fixture
def tiny_network(calibrated_network: CUHS) -> CUHS:
    """A copy that a test may change."""
    return copy.deepcopy(calibrated_network)


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
def market() -> Callable[[Path], Source]:
    """Writes two training, two testing identities, a distractor and junk, with labels: 11 images."""

    def write(root: Path) -> Source:
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
        return Source(
            classify=False, layout="market1501", folder=root, clothing=root / "clothing.csv", boxes=root / "boxes.csv"
        )

    return write


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Builds sources into ``tmp_path / out`` and returns the summary."""

    def run(sources: dict[str, Source], out: str = "out", **options: object) -> dict[str, Any]:
        passed = {name: options.pop(name) for name in ("mapper", "progress") if name in options}
        config = DatasetConfig.model_validate({"name": "small", "raw": tmp_path, "sources": sources} | options)
        return build(config, tmp_path / out, **passed)

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows of a built dataset by path."""

    def read(out: str = "out") -> dict[str, dict[str, Any]]:
        splits = (read_split(tmp_path / out, split).to_pylist() for split in ("train", "query", "gallery"))
        return {row["path"]: row for split in splits for row in split}

    return read
