"""``python runner.py PEER FOLDER``, in the peers' environment: runs one peer on the arrays in a folder.

FOLDER has query.npy and gallery.npy, (N, D) float32, and {query,gallery}_{pids,camids}.npy. The last line printed is
JSON with the seconds taken and the peak memory on top of the features.
"""

import importlib
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


class Absent(types.ModuleType):
    """Replaces a package that a peer imports but does not use in the measured functions."""

    def __getattr__(self, name: str) -> None:
        return None


def measured(name: str) -> types.ModuleType:
    """Import a peer's module without running its packages' ``__init__``, which import training, faiss and OpenCV."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        package = ".".join(parts[:depth])
        module = types.ModuleType(package)
        module.__path__ = [str(Path(entry, *parts[:depth])) for entry in sys.path]
        sys.modules.setdefault(package, module)
    sys.modules.setdefault("faiss", Absent("faiss"))
    return importlib.import_module(name)


def fastreid_cython(arrays: Arrays) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
    """What fast-reid's evaluator runs: Euclidean distances, then the Cython ranking."""
    distance = measured("fastreid.utils.compute_dist").compute_euclidean_distance
    ranking = measured("fastreid.evaluation.rank")
    assert ranking.IS_CYTHON_AVAI
    query, gallery = torch.from_numpy(arrays["query"]), torch.from_numpy(arrays["gallery"])
    labels = [arrays[key] for key in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")]

    def run() -> Any:
        return ranking.evaluate_rank(distance(query, gallery), *labels)

    return run, lambda result: {"cmc": result[0], "ap": result[1], "inp": result[2]}


def torchreid(arrays: Arrays) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
    """What torchreid's engine runs: squared Euclidean distances, then the ranking in Python."""
    distance = measured("torchreid.reid.metrics.distance").compute_distance_matrix
    ranking = measured("torchreid.reid.metrics.rank")
    query, gallery = torch.from_numpy(arrays["query"]), torch.from_numpy(arrays["gallery"])
    labels = [arrays[key] for key in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")]

    def run() -> Any:
        return ranking.evaluate_rank(distance(query, gallery).numpy(), *labels)

    return run, lambda result: {"cmc": result[0], "map": np.array(result[1])}


def fastreid_reranking(arrays: Arrays) -> tuple[Callable[[], Any], Callable[[Any], Arrays]]:
    """fast-reid's k-reciprocal re-ranking, distances included."""
    rerank = measured("fastreid.evaluation.rerank").re_ranking
    query, gallery = torch.from_numpy(arrays["query"]), torch.from_numpy(arrays["gallery"])

    def run() -> Any:
        pairs = (query, gallery), (query, query), (gallery, gallery)
        return rerank(*(torch.cdist(a, b).numpy() for a, b in pairs), k1=20, k2=6, lambda_value=0.3)

    return run, lambda result: {"distances": result}


def memory(field: str) -> float:
    """``VmRSS`` or its peak ``VmHWM`` in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("/proc/self/status: no memory figures; the benchmarks need Linux")


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    names = ("query", "gallery", "query_pids", "gallery_pids", "query_camids", "gallery_camids")
    prepare = {f.__name__: f for f in (fastreid_cython, torchreid, fastreid_reranking)}[peer]
    run, results = prepare({name: np.load(folder / f"{name}.npy") for name in names})
    before = memory("VmRSS")
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    for name, array in results(result).items():
        np.save(folder / f"{peer}_{name}.npy", array)
    print(json.dumps({"seconds": seconds, "extra_mb": memory("VmHWM") - before}))


if __name__ == "__main__":
    main()
