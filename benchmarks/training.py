"""A training step beside torchreid's: `python -m benchmarks.training`.

Both do the same step of the same network, in their own processes, by turns: a step here, a step there, many times. So
both see the same machine, and the ratio is that of the medians. The images are noise, already in memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import peers
from cuhs.machine import usable_cpus

STEPPER = Path(peers.__file__).parent / "stepper.py"
SIZES = {"resnet50": (192, 64), "mobilenet_v2": (96, 48)}


class Stepper:
    """A training of ``stepper.py`` in its process."""

    def __init__(self, owner: str, backbone: str, threads: int) -> None:
        python = sys.executable if owner == "ours" else str(peers.environment())
        numbers = [*SIZES[backbone], threads]
        self._process = subprocess.Popen(
            [python, str(STEPPER), owner, backbone, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def steps(self, count: int) -> float:
        """The seconds that a number of steps took."""
        assert self._process.stdin and self._process.stdout
        print(count, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended")  # type: ignore[arg-type]
        return float(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def against_torchreid(backbone: str, threads: int, repeats: int) -> tuple[float, float]:
    """The median seconds a step, ours and theirs."""
    sides = [Stepper(owner, backbone, threads) for owner in ("ours", "torchreid")]
    try:
        for side in sides:
            side.steps(1)  # memory is allocated, and kernels are chosen
        pairs = [[side.steps(1) for side in sides] for _ in range(repeats)]
    finally:
        for side in sides:
            side.close()
    first, second = (statistics.median(each) for each in zip(*pairs, strict=True))
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    arguments = parser.parse_args()
    found = {}
    print(f"{'network':<14} {'pixels':>8} {'ours':>9} {'torchreid':>10} {'faster':>7}   seconds a step of 32 images")
    for backbone, (height, width) in SIZES.items():
        ours, theirs = against_torchreid(backbone, arguments.threads, arguments.repeats)
        name = {"resnet50": "resnet50", "mobilenet_v2": "mobilenet"}[backbone]
        found[f"vs_torchreid_{name}"] = round(theirs / ours, 2)
        print(f"{backbone:<14} {f'{height}x{width}':>8} {ours:9.3f} {theirs:10.3f} {theirs / ours:7.2f}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
