"""``python -m benchmarks.reranking``: k-reciprocal re-ranking beside fast-reid's, both with distances included.

The last line is JSON: our time over theirs, both sides' memory on top of the features in MB, the largest difference
of a distance, and the largest difference of mAP, mINP and CMC in percent.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import own, peers
from benchmarks.features import people
from benchmarks.ranking import MARKET
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import Ranking, rank_distances
from cuhs.evaluation.reranking import rank_reranked, rerank
from cuhs.machine import usable_cpus


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reranking", description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="for both sides; default: usable cores")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; theirs runs once")
    parser.add_argument("--queries", type=int, default=MARKET[0])
    parser.add_argument("--gallery", type=int, default=MARKET[1])
    parser.add_argument("--dimensions", type=int, default=512)
    arguments = parser.parse_args()
    query, gallery = people(arguments.queries, arguments.gallery, arguments.dimensions, junk=0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own.save(folder, query, gallery)
        theirs = peers.run("fastreid_reranking", folder, arguments.threads)
        runs = [own.run("reranking", folder, arguments.threads) for _ in range(arguments.repeats)]
        distances = np.load(folder / "fastreid_reranking_distances.npy", mmap_mode="r")
        largest, beyond = differences(query, gallery, distances)
        ranking = rank_distances([distances], query, gallery)
    ours = min(run["seconds"] for run in runs)
    extra = max(run["extra_mb"] for run in runs)
    print(f"{len(query.pids):,} × {len(gallery.pids):,} × {arguments.dimensions}:")
    print(f"fast-reid {theirs['seconds']:.1f} s, {theirs['extra_mb']:.0f} MB; ours {ours:.1f} s, {extra:.0f} MB")
    print(f"mAP before {100 * own.ranking(query, gallery).map():.2f}, after {100 * ranking.map():.2f}")
    print(f"distances that differ by more than 1e-5: {beyond} of {distances.size:,}")
    figures = {
        "vs_fastreid": round(ours / theirs["seconds"], 4),
        "extra_mb": round(extra),
        "fastreid_extra_mb": round(theirs["extra_mb"]),
        "max_difference": largest,
        "max_difference_measures": difference_of_measures(rank_reranked(query, gallery), ranking),
    }
    print(json.dumps(figures))


def differences(query: Features, gallery: Features, distances: np.ndarray) -> tuple[float, int]:
    """The largest difference of a distance, and how many differ by more than 1e-5."""
    largest, beyond, start = 0.0, 0, 0
    for block in rerank(query, gallery):
        difference = np.abs(block.numpy() - distances[start : start + len(block)])
        largest, beyond = max(largest, float(difference.max())), beyond + int((difference > 1e-5).sum())
        start += len(block)
    return largest, beyond


def difference_of_measures(one: Ranking, other: Ranking) -> float:
    """The largest difference in mAP, mINP and CMC, in percent."""
    pairs = zip(one.percentages().values(), other.percentages().values(), strict=True)
    return max(abs(a - b) for a, b in pairs)


if __name__ == "__main__":
    main()
