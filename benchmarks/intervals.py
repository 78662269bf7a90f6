"""How often intervals hold what they say, with few identities: `python -m benchmarks.intervals`.

Draws many small test sets from known populations of people, and of trainings, and counts how often the interval
covers the population's mean, and how often a comparison of two equally good models finds a difference. Both should
be as often as the level says: 95 % and 5 %. The percentile bootstrap, which most tools use, stands beside.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np

from cuhs.evaluation.intervals import interval, paired

IDENTITIES = (10, 20, 50, 150)
# Spread of identities, of chance inside an identity and training, and of an identity's queries, in logits.
PEOPLE, INSIDE, QUERIES = 1.0, 0.3, 0.7
Values = tuple[np.ndarray, np.ndarray]


def precisions(generator: np.random.Generator, identities: int, trainings: int, level: float, luck: float) -> Values:
    """Values like average precisions, (S, Q), and the identities of their 2 to 6 queries each."""
    pids = np.repeat(np.arange(identities), generator.integers(2, 7, identities))
    people = level + generator.normal(0, PEOPLE, identities)
    people = people + generator.normal(0, luck, (trainings, 1)) + generator.normal(0, INSIDE, (trainings, identities))
    logits = people[:, pids] + generator.normal(0, QUERIES, len(pids))
    return 1 / (1 + np.exp(-logits)), pids


def hits(generator: np.random.Generator, identities: int) -> Values:
    """Whether the first match of each query is right, (1, Q)."""
    pids = np.repeat(np.arange(identities), generator.integers(2, 7, identities))
    rate = generator.beta(4, 1.5, identities)
    return (generator.random(len(pids)) < rate[pids]).astype(float)[None], pids


def percentile(values: np.ndarray, pids: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    """The percentile bootstrap's interval of one training's mean."""
    counts, sums = np.bincount(pids), np.bincount(pids, weights=values)
    drawn = generator.integers(len(counts), size=(resamples, len(counts)))
    ends: np.ndarray = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return ends


def coverage(draw: Callable[[np.random.Generator, int], Values], identities: int, draws: int) -> tuple[float, float]:
    """Percentage of covered means: by our interval, and by the percentile bootstrap's, of one training."""
    generator = np.random.default_rng(identities)
    truth = draw(generator, 400_000)[0].mean()
    ours = theirs = 0
    for seed in range(draws):
        values, pids = draw(generator, identities)
        low, high = interval(values[..., None], pids, resamples=400, seed=seed)
        ours += low[0] <= truth <= high[0]
        first, last = percentile(values[0], pids, generator, 400)
        theirs += first <= truth <= last
    return 100 * ours / draws, 100 * theirs / draws


def rejections(identities: int, trainings: int, luck: float, draws: int) -> tuple[float, float]:
    """Percentage of found differences between equally good models: ours, and by the percentile bootstrap of one."""
    generator = np.random.default_rng(identities)
    ours = theirs = 0
    for _ in range(draws):
        values, pids = precisions(generator, identities, 2 * trainings, 0.3, luck)
        a, b = values[:trainings], values[trainings:]
        ours += paired(a, b, pids).p < 0.05
        first, last = percentile(a[0] - b[0], pids, generator, 400)
        theirs += not first <= 0 <= last
    return 100 * ours / draws, 100 * theirs / draws


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__)
    parser.add_argument("--draws", type=int, default=4000, help="test sets of each kind; 4000: ±0.7 points")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {"coverage": [], "coverage_trainings": [], "false": [], "false_trainings": []}
    populations: dict[str, Callable[[np.random.Generator, int], Values]] = {
        "mAP around 55": lambda generator, identities: precisions(generator, identities, 1, 0.3, 0),
        "mAP around 85": lambda generator, identities: precisions(generator, identities, 1, 2.2, 0),
        "rank 1 around 73": hits,
    }
    print("| one training | identities | covered | percentile bootstrap |\n|---|---|---|---|")
    for name, draw in populations.items():
        for identities in IDENTITIES:
            ours, theirs = coverage(draw, identities, arguments.draws)
            found["coverage"].append(ours)
            print(f"| {name} | {identities} | {ours:.1f} % | {theirs:.1f} % |", flush=True)
    for identities in IDENTITIES:
        ours, theirs = rejections(identities, 1, 0, arguments.draws)
        found["false"].append(ours)
        print(f"| a difference that is none | {identities} | {ours:.1f} % found | {theirs:.1f} % |", flush=True)
    print(
        "\n| trainings, spread of their luck | identities | covered | a difference that is none |\n|---|---|---|---|"
    )
    for trainings, luck in ((3, 0.0), (3, 0.1), (3, 0.3), (5, 0.1)):
        for identities in IDENTITIES[::2]:
            ours, _ = coverage(
                lambda generator, count, s=trainings, spread=luck: _some(generator, count, s, spread),
                identities,
                arguments.draws // 4,
            )
            alarms, _ = rejections(identities, trainings, luck, arguments.draws // 4)
            found["coverage_trainings"].append(ours)
            found["false_trainings"].append(alarms)
            print(f"| {trainings}, {luck} | {identities} | {ours:.1f} % | {alarms:.1f} % found |", flush=True)
    print(json.dumps({name: [round(min(values), 1), round(max(values), 1)] for name, values in found.items()}))


def _some(generator: np.random.Generator, identities: int, trainings: int, luck: float) -> Values:
    """A test set of some trainings; of the population, for its mean, as many trainings as identities."""
    if identities <= max(IDENTITIES):
        return precisions(generator, identities, trainings, 0.3, luck)
    logits = generator.normal(0.3, np.sqrt(PEOPLE**2 + INSIDE**2 + QUERIES**2 + luck**2), 4_000_000)
    return 1 / (1 + np.exp(-logits))[None], np.arange(len(logits))


if __name__ == "__main__":
    main()
