"""``python -m benchmarks.own FUNCTION FOLDER``: this project on the peers' arrays, in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.features import Split
from benchmarks.peers.runner import memory
from cuhs.evaluation.ranking import rank
from cuhs.evaluation.reranking import rerank


def save(folder: Path, query: Split, gallery: Split) -> None:
    """Write both sides as ``peers/runner.py`` reads them."""
    for name, split in (("query", query), ("gallery", gallery)):
        np.save(folder / f"{name}.npy", split.features)
        np.save(folder / f"{name}_pids.npy", split.pids)
        np.save(folder / f"{name}_camids.npy", split.camids)


def load(folder: Path) -> tuple[Split, Split]:
    """What :func:`save` wrote."""
    query, gallery = (
        Split(*(np.load(folder / f"{name}{part}.npy") for part in ("", "_pids", "_camids")))
        for name in ("query", "gallery")
    )
    return query, gallery


def run(function: str, folder: Path, threads: int) -> dict[str, float]:
    """``seconds`` and ``extra_mb``, the peak of the memory above the features, of a function of this module."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.own", function, str(folder)]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ranking(query: Split, gallery: Split) -> Any:
    return rank(query.features, query.pids, query.camids, gallery.features, gallery.pids, gallery.camids)


def reranking(query: Split, gallery: Split) -> Any:
    for _ in rerank(query.features, gallery.features):
        pass


if __name__ == "__main__":
    measured = {f.__name__: f for f in (ranking, reranking)}[sys.argv[1]]
    sides = load(Path(sys.argv[2]))
    before = memory("VmRSS")
    start = time.perf_counter()
    measured(*sides)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "extra_mb": memory("VmHWM") - before}))
