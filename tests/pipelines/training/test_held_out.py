"""The localiser's IoU with two workers: the first one's model is measured, as a checkpoint holds it.

Run as a script, ``test_held_out.py RANK FOLDER DATASET``, this file is one of the two workers.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from cuhs.training.epoch import EpochPart
from cuhs.training.hsl import mean_iou
from pipelines.base import params
from pipelines.training.trainings import HslRun

ROOT = Path(__file__).parents[3]
WORKERS = 2
VALUES = {"image.height": 64, "image.width": 32, "pretrain_hsl.batch": 8, "pretrain_hsl.held_out": 0.4}
CPU = torch.device("cpu")


def worker(rank: int, folder: Path, dataset: Path) -> None:
    """One of the workers: it writes what it reported, and what its own model would have."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS)
    p = params.with_values(params.load(ROOT / "params.yaml"), VALUES)
    training = HslRun(p, {"dataset": str(dataset)}, CPU, rank, WORKERS)
    read: list[int] = []
    training.held_out._loader.dataset._pixels = noting(training.held_out._loader.dataset._pixels, read)
    found = [training.epoch(number, EpochPart(), lambda *_: read.clear())["iou"] for number in range(2)]
    measured = len(read)
    own = mean_iou(training.model, training.held_out, CPU)
    torch.save({"found": found, "own": own, "measured": measured}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def noting(pixels: Any, read: list[int]) -> Any:
    def noted(index: int) -> Any:
        read.append(index)
        return pixels(index)

    return noted


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder), str(tiny_dataset)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORKERS)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stderr.close()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORKERS)]


def test_all_workers_report_the_iou_of_the_first_one_s_model(workers: list[dict[str, Any]]) -> None:
    first, second = workers
    assert first["found"] == second["found"] and len(first["found"]) == 2
    assert first["found"][-1] == first["own"]
    # Each has normalisation statistics of its own batches.
    assert second["own"] != first["own"]


def test_only_the_first_reads_the_held_out_images(workers: list[dict[str, Any]]) -> None:
    assert [found["measured"] for found in workers] == [6, 0]


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
