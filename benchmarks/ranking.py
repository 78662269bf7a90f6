"""``python -m benchmarks.ranking``: ranking beside the bare matrix product, fast-reid's Cython and torchreid.

Everything is measured in one run with interleaved repetitions, and the best of each counts, so that other work on the
machine affects all alike. The last line is JSON: our time over theirs, the memory on top of the features in MB, the
largest difference of a result.

``--device cuda`` measures ranking, re-ranking and thresholds on a GPU beside the CPU instead.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import own, peers
from benchmarks.features import people
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import Ranking, rank
from cuhs.evaluation.reranking import rank_reranked
from cuhs.evaluation.thresholds import pair_distances
from cuhs.machine import usable_cpus

MARKET, MSMT17 = (3_368, 15_913), (11_659, 82_161)
GALLERIES = (15_913, 82_161, 300_000, 1_000_000)
CHUNK_BYTES = 128 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="for both sides; default: usable cores")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, help="compare it with the CPU; `cpu` only tries the code")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.device:
        print(json.dumps(beside_cpu(arguments.device, arguments.repeats)))
        return
    peers.environment()
    figures = {}
    for dimensions in (512, 2048, 6144):
        figures[f"vs_product_{dimensions}"] = beside_product(dimensions, 1.0, arguments.repeats)
        beside_product(dimensions, 0.0, arguments.repeats)
    del figures["vs_product_512"]  # the product is so short that counting weighs more beside it; no claim
    per_pair(arguments.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures |= beside_peers(folder, arguments.threads, arguments.repeats)
        for key, size, dimensions in (("extra_mb", MARKET, 2048), ("extra_mb_msmt17", MSMT17, 2048)):
            own.save(folder, *people(*size, dimensions))
            measured = own.run("ranking", folder, arguments.threads)
            print(f"{_size(size)} × {dimensions}: {measured['seconds']:.2f} s, {measured['extra_mb']:.0f} MB extra")
            figures[key] = round(measured["extra_mb"])
    print(json.dumps(figures))


def beside_cpu(device: torch.device, repeats: int, size: tuple[int, int] = MARKET) -> dict[str, float]:
    """The CPU's time over a device's, and the largest difference of mAP, mINP or CMC, in percent.

    Features lie on the device already; results come back to the CPU, so every clock stops after the device has ended.
    """
    query, gallery = people(*size, 512)
    moved = replace(gallery, values=torch.from_numpy(gallery.values).to(device))
    # Queries follow the gallery's features to their device.
    figures = {}
    for name, work in {"rank": rank, "rerank": rank_reranked, "thresholds": pair_distances}.items():
        (here,), (there,) = best(repeats, query, gallery, work), best(repeats, query, moved, work)
        print(f"{name}, {_size(size)} × 512: CPU {here:.3f} s, {device} {there:.3f} s", flush=True)
        figures[f"{name}_faster"] = round(here / there, 2)
    pairs = zip(rank(query, gallery).percentages().values(), rank(query, moved).percentages().values(), strict=True)
    return {**figures, "max_difference": max(abs(one - other) for one, other in pairs)}


def beside_product(dimensions: int, signal: float, repeats: int) -> float:
    """Our time over the time of the product alone, in chunks of the same size."""
    query, gallery = people(*MARKET, dimensions, signal=signal)
    product, ours = best(repeats, query, gallery, multiply, own.ranking)
    kind = "trained-like" if signal else "near-random"
    ranking = own.ranking(query, gallery)
    print(
        f"{_size(MARKET)} × {dimensions}, {kind}, mAP {100 * ranking.map():.1f}:"
        f" product {product:.2f} s, ours {ours:.2f} s = {ours / product:.3f} ×"
    )
    return round(ours / product, 3)


def per_pair(repeats: int) -> None:
    """Print how the cost of a pair grows with the gallery."""
    for count in GALLERIES:
        query, gallery = people(64, count, 512, identities=count // 20)
        seconds = best(repeats, query, gallery, multiply, own.ranking)
        product, ours = (1e9 * value / (64 * count) for value in seconds)
        print(f"{_size((64, count))} × 512: {ours:.1f} ns a pair, product {product:.1f}")


def beside_peers(folder: Path, threads: int, repeats: int) -> dict[str, float]:
    """Our time over the peers', and the largest difference between results, without junk.

    Toolboxes drop junk rows when they load a dataset; their ranking would count them as distractors.
    """
    query, gallery = people(*MARKET, 512, junk=0.0)
    own.save(folder, query, gallery)
    ours, fastreid = [], []
    torchreid = peers.run("torchreid", folder, threads)["seconds"]
    for _ in range(max(2, repeats - 2)):
        fastreid.append(peers.run("fastreid_cython", folder, threads)["seconds"])
        ours += best(1, query, gallery, own.ranking)
    print(
        f"{_size(MARKET)} × 512: ours {min(ours):.2f} s, fast-reid's Cython {min(fastreid):.2f} s,"
        f" torchreid {torchreid:.1f} s"
    )
    return {
        "vs_fastreid_cython_512": round(min(ours) / min(fastreid), 4),
        "vs_torchreid_512": round(min(ours) / torchreid, 4),
        "max_difference": difference(folder, own.ranking(query, gallery)),
    }


def difference(folder: Path, ranking: Ranking) -> float:
    """The largest difference of mAP, mINP or a CMC value from either peer's."""
    theirs = {path.stem: np.load(path) for path in folder.glob("*reid_*.npy")}
    cmc = ranking.cmc(50)
    found = {
        "fast-reid mAP": theirs["fastreid_cython_ap"].mean(dtype=np.float64) - ranking.map(),
        "fast-reid mINP": theirs["fastreid_cython_inp"].mean(dtype=np.float64) - ranking.minp(),
        "fast-reid CMC": np.abs(theirs["fastreid_cython_cmc"] - cmc).max(),
        "torchreid mAP": float(theirs["torchreid_map"]) - ranking.map(),
        "torchreid CMC": np.abs(theirs["torchreid_cmc"] - cmc).max(),
    }
    per_query = np.abs(theirs["fastreid_cython_ap"] - ranking.ap[ranking.valid])
    print("differences:", ", ".join(f"{name} {abs(value):.1e}" for name, value in found.items()))
    # From distances that differ by less than float32's rounding: the peer sums |q|² + |g|² - 2 q·g in another order.
    changed = (per_query > 1e-6).sum()
    print(f"queries whose neighbours changed places: {changed}, their AP by {per_query.max():.1e} at most")
    return max(abs(float(value)) for value in found.values())


def multiply(query: Features, gallery: Features) -> None:
    """The bare product, in chunks of the ranking's size."""
    left, right = torch.from_numpy(query.values), torch.from_numpy(gallery.values)
    size = min(len(left), CHUNK_BYTES // (4 * len(right)))
    buffer = torch.empty(size, len(right))
    for part in left.split(size):
        torch.mm(part, right.T, out=buffer[: len(part)])


def best(
    repeats: int, query: Features, gallery: Features, *functions: Callable[[Features, Features], object]
) -> list[float]:
    """The shortest time of each function in seconds; the functions run in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            start = time.perf_counter()
            function(query, gallery)
            seconds.append(time.perf_counter() - start)
    return [min(seconds) for seconds in times]


def _size(size: tuple[int, int]) -> str:
    return " × ".join(f"{count:,}" for count in size)


if __name__ == "__main__":
    main()
