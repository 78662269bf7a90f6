"""The build over processes and over Ray: killed for real, and over the Ray of this process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.raw.config import Source
from pipelines.cluster.parallel import map_on_cluster, mapper
from tests.system.project import ROOT, inherited

pytestmark = [pytest.mark.system, pytest.mark.long]

PEOPLE = 120

BUILD = """
import sys, time
from pathlib import Path
from cuhs.build import parallel
from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.raw.config import Source

if __name__ == "__main__":
    parallel.usable_cpus = lambda: 2
    sources = {"c": Source(classify=False, layout="cuhk03", folder="raw")}
    build(DatasetConfig(name="small", raw=".", sources=sources), Path("out"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw images of many people, and the dataset of an undisturbed build."""
    folder = tmp_path_factory.mktemp("build")
    rng = np.random.default_rng(0)
    (folder / "raw/images_labeled").mkdir(parents=True)
    for pid in range(1, PEOPLE + 1):
        for number in range(8):
            pixels = rng.integers(0, 256, (128, 64, 3), dtype=np.uint8)
            name = f"1_{pid:03d}_{1 + number // 4}_{number:02d}.jpg"
            Image.fromarray(pixels).save(folder / "raw/images_labeled" / name)
    sources = {"c": Source(classify=False, layout="cuhk03", folder="raw")}
    build(DatasetConfig(name="small", raw=folder, sources=sources), folder / "undisturbed", map)
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    (folder / "run.py").write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=folder,
        env=inherited() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=420)
    assert process.returncode == 0, errors[-4000:]
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_build_leaves_no_process_and_goes_on(folder: Path) -> None:
    process = start(folder)
    journals = folder / "out.unfinished"
    deadline = time.monotonic() + 120
    try:
        while not any(path.stat().st_size > 1000 for path in journals.glob("*/checked.jsonl")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert children and not alive
    (journal,) = journals.glob("*/checked.jsonl")
    checked = len(journal.read_text().splitlines())
    assert 0 < checked < 8 * PEOPLE and not (folder / "out").exists()

    finish(start(folder))
    assert tree(folder / "out") == tree(folder / "undisturbed")
    assert not journals.exists()


def test_a_build_over_ray_gives_the_same_bytes(folder: Path, tmp_path: Path, local_ray: None) -> None:
    assert mapper() is map_on_cluster
    assert os.getpid() not in set(map_on_cluster(eval, ["__import__('os').getpid()"] * 20))
    assert list(map_on_cluster(abs, list(range(-50, 0)))) == list(range(50, 0, -1))
    with pytest.raises(json.JSONDecodeError, match=r"Expecting value: line 1 column 1 \(char 0\)"):
        list(map_on_cluster(json.loads, ["1", "]"]))
    sources = {"c": Source(classify=False, layout="cuhk03", folder="raw")}
    build(DatasetConfig(name="small", raw=folder, sources=sources), tmp_path / "out", mapper())
    assert tree(tmp_path / "out") == tree(folder / "undisturbed")
