"""The build over processes and over Ray: killed for real, and on a cluster of its own."""

import json
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

ON_RAY = """
import json, os, ray
from pathlib import Path
from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.raw.config import Source
from cuhs.errors import CuhsError
from pipelines.cluster.parallel import map_on_cluster, map_on_cores, mapper

if __name__ == "__main__":
    assert mapper() is map_on_cores
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20
    )
    assert mapper() is map_on_cluster
    processes = set(map_on_cluster(eval, ["__import__('os').getpid()"] * 20))
    try:
        list(map_on_cluster(json.loads, ["1", "]"]))
    except json.JSONDecodeError as error:
        failure = str(error)
    sources = {"c": Source(classify=False, layout="cuhk03", folder="raw")}
    build(DatasetConfig(name="small", raw=".", sources=sources), Path("out"), mapper())
    print(json.dumps({
        "elsewhere": os.getpid() not in processes,
        "order": list(map_on_cluster(abs, list(range(-50, 0)))) == list(range(50, 0, -1)),
        "failure": failure,
    }))
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


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    (folder / "run.py").write_text(code)
    return subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=folder,
        env=inherited() | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
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
    process = start(folder, BUILD)
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

    finish(start(folder, BUILD))
    assert tree(folder / "out") == tree(folder / "undisturbed")
    assert not journals.exists()


def test_a_build_over_ray_gives_the_same_bytes(folder: Path) -> None:
    process = start(folder, ON_RAY)
    try:
        said = json.loads(finish(process).splitlines()[-1])
    finally:
        process.kill()
    assert said == {"elsewhere": True, "order": True, "failure": "Expecting value: line 1 column 1 (char 0)"}
    assert tree(folder / "out") == tree(folder / "undisturbed")
