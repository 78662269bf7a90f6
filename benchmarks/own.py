"""``python -m benchmarks.own FUNCTION FOLDER``: runs this project on the peers' arrays, in its own process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.runner import memory
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import rank
from cuhs.evaluation.reranking import rerank


def save(folder: Path, query: Features, gallery: Features) -> None:
    """Write both sides in the form that ``peers/runner.py`` reads."""
    for name, split in (("query", query), ("gallery", gallery)):
        np.save(folder / f"{name}.npy", split.values)
        np.save(folder / f"{name}_pids.npy", split.pids)
        np.save(folder / f"{name}_camids.npy", split.camids)


def load(folder: Path) -> tuple[Features, Features]:
    """Read what :func:`save` wrote."""
    query, gallery = (
        Features(*(np.load(folder / f"{name}{part}.npy") for part in ("", "_pids", "_camids")))
        for name in ("query", "gallery")
    )
    return query, gallery


def run(function: str, folder: Path, threads: int) -> dict[str, float]:
    """The ``seconds`` of a function of this module, and ``extra_mb``, its peak memory on top of the features."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.own", function, str(folder)]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ranking(query: Features, gallery: Features) -> Any:
    return rank(query, gallery)


def reranking(query: Features, gallery: Features) -> Any:
    for _ in rerank(query, gallery):
        pass


if __name__ == "__main__":
    measured = {f.__name__: f for f in (ranking, reranking)}[sys.argv[1]]
    sides = load(Path(sys.argv[2]))
    before = memory("VmRSS")
    start = time.perf_counter()
    measured(*sides)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "extra_mb": memory("VmHWM") - before}))
