"""How time and memory grow: `python -m benchmarks.scaling --out docs/images`.

Each point runs in a process of its own (:mod:`benchmarks.points`). Prints a table in Markdown for each curve and
writes all curves to ``scaling.svg``. An exponent k says that a figure grows as n^k; it is fitted to the three largest
sizes. About 15 minutes on two cores, with ``--quick`` two. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.curves import Curve, draw, exponent


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        title: what is measured.
        counted: what its sizes count.
        sizes: its sizes.
        quick: so many of the first sizes are measured with ``--quick``.
    """

    title: str
    counted: str
    sizes: tuple[int, ...]
    quick: int


# By the function of `benchmarks.points` that measures it.
SERIES = {
    "build_dataset": Series("Building a dataset", "images", (1_000, 3_000, 9_000), 1),
    "open_images": Series("Opening a split", "images", (1_000, 10_000, 100_000, 1_000_000), 3),
    "narrow_classifier": Series(
        "A step of 4 classifiers of 128 channels", "identities", (100, 1_000, 10_000, 100_000, 1_000_000), 4
    ),
    "wide_classifier": Series(
        "A step of 4 classifiers of 512 channels", "identities", (100, 1_000, 10_000, 100_000, 1_000_000), 3
    ),
    "sampler": Series("Drawing an epoch's batches", "identities", (1_000, 3_000, 10_000, 30_000, 100_000), 3),
    "gallery": Series("Ranking, a query", "gallery images", (10_000, 30_000, 100_000, 300_000, 1_000_000), 3),
    "workers": Series("An epoch of 30 people of FG-Synth", "workers, a thread each", (1, 2), 0),
    "pixels": Series("A training step of 32 images", "pixels (96×48 to 384×128)", (4_608, 10_240, 32_768, 49_152), 2),
}
Points = list[tuple[int, dict[str, float]]]


def point(name: str, size: int) -> dict[str, float] | None:
    """Measure a point; prints why and returns None if that is not possible here."""
    command = [sys.executable, "-m", "benchmarks.points", name, str(size)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name} {size:,}: ended with {done.returncode} ({last})", flush=True)
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    if "skipped" in found:
        print(f"{name} {size:,}: not measured, {found['skipped']}", flush=True)
        return None
    return found


def curve(points: Points) -> tuple[list[int], Curve]:
    """The sizes, and each measure's values at them."""
    measures = points[0][1]
    return [size for size, _ in points], {measure: [found[measure] for _, found in points] for measure in measures}


def table(series: Series, sizes: Sequence[int], measures: Curve) -> str:
    """Return a curve as a table in Markdown, with a row of exponents."""
    lines = [
        f"**{series.title}**",
        "",
        f"| {' | '.join([series.counted, *measures])} |",
        "|---" * (len(measures) + 1) + "|",
    ]
    for row, size in enumerate(sizes):
        lines.append(f"| {' | '.join([f'{size:,}', *(_short(values[row]) for values in measures.values())])} |")
    exponents = [f"n^{exponent(sizes, values):.2f}" for values in measures.values()]
    return "\n".join([*lines, f"| {' | '.join(['growth', *exponents])} |", ""])


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for scaling.svg")
    parser.add_argument("--quick", action="store_true", help="only small sizes: about two minutes")
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES), help="some of the curves")
    arguments = parser.parse_args()
    began = time.perf_counter()
    panels, figures = {}, {}
    for name in arguments.only:
        series = SERIES[name]
        sizes = series.sizes[: series.quick] if arguments.quick else series.sizes
        points = [(size, found) for size in sizes if (found := point(name, size))]
        if not points:
            continue
        measured, measures = curve(points)
        print(table(series, measured, measures), flush=True)
        panels[series.title] = (series.counted, measured, measures)
        figures[name] = {"sizes": measured, **measures}
    draw(arguments.out / "scaling.svg", panels)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
