"""How fast a training is, beside what it could be: `python -m benchmarks.training`.

A step beside torchreid's: both do the same step of the same network, in their own processes, by turns: a step here, a
step there, many times. So both see the same machine, and the ratio is that of the medians. The images are noise,
already in memory. With a GPU also there, in bfloat16 at 384×128, with the model FLOPs utilisation (MFU) of our step.

A stage beside a plain loop is measured by :mod:`benchmarks.ray_overhead`, a training beside busy processes by
:mod:`benchmarks.busy_machine`. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import busy_machine, peers, ray_overhead
from benchmarks.peers.stepper import CLASSES, IDENTITIES, IMAGES
from benchmarks.steps import baseline
from cuhs.machine import usable_cpus
from cuhs.training.flops import peak_flops, training_flops

STEPPER = Path(peers.__file__).parent / "stepper.py"
# By the name in the figures: backbone, device, height, width.
NETWORKS = {
    "vs_torchreid_resnet50": ("resnet50", "cpu", 192, 64),
    "vs_torchreid_mobilenet": ("mobilenet_v2", "cpu", 96, 48),
    "vs_torchreid_gpu": ("resnet50", "cuda", 384, 128),
}


class Stepper:
    """A training of ``stepper.py`` in its process."""

    def __init__(self, owner: str, backbone: str, device: str, height: int, width: int) -> None:
        python = sys.executable if owner == "ours" else str(peers.environment())
        numbers = map(str, (height, width, usable_cpus()))
        self._process = subprocess.Popen(
            [python, str(STEPPER), owner, backbone, *numbers, device],
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


def beside_torchreid(name: str, repeats: int) -> tuple[float, float]:
    """The median seconds a step of one of :data:`NETWORKS`, ours and theirs; prints both."""
    backbone, device, height, width = NETWORKS[name]
    sides = [Stepper(owner, backbone, device, height, width) for owner in ("ours", "torchreid")]
    try:
        for side in sides:
            side.steps(3)  # memory is allocated, and kernels are chosen
        pairs = [[side.steps(1) for side in sides] for _ in range(repeats)]
    finally:
        for side in sides:
            side.close()
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    count = IDENTITIES[device] * IMAGES
    print(
        f"{backbone} at {height}×{width} on {device}, {count} images a step: "
        f"ours {ours:.4f} s, torchreid {theirs:.4f} s, {theirs / ours:.2f} times as fast",
        flush=True,
    )
    return ours, theirs


def step(repeats: int) -> dict[str, Any]:
    """A step on this machine's cores beside torchreid's."""
    found = {}
    for name in ("vs_torchreid_resnet50", "vs_torchreid_mobilenet"):
        ours, theirs = beside_torchreid(name, repeats)
        found[name] = round(theirs / ours, 2)
    return found


def gpu(repeats: int) -> dict[str, Any]:
    """A step on the GPU beside torchreid's, and our MFU; nothing without a GPU."""
    if not torch.cuda.is_available():
        print("no GPU here, so no vs_torchreid_gpu and no mfu", flush=True)
        return {}
    name = "vs_torchreid_gpu"
    backbone, device, height, width = NETWORKS[name]
    ours, theirs = beside_torchreid(name, repeats)
    found = {name: round(theirs / ours, 2)}
    if peak := peak_flops(torch.device(device), "bfloat16"):
        images = IDENTITIES[device] * IMAGES
        found["mfu"] = round(images * training_flops(baseline(backbone, CLASSES), height, width) / ours / peak, 3)
    else:
        print(f"the peak of {torch.cuda.get_device_name()} is not known, so no mfu", flush=True)
    return found


def stage(repeats: int) -> dict[str, Any]:
    """A whole stage beside a plain loop, and the share of the plain loop's time that goes by waiting for images."""
    return ray_overhead.against_plain(repeats, epochs=4, identities=60)


def neighbour(repeats: int) -> dict[str, Any]:
    """The share of its pace that a training keeps beside a busy process on each core."""
    # As trainings wait: pipelines/__init__.py sets it.
    return {"busy_neighbour": busy_machine.against_neighbours(repeats, seconds=8.0)["sleeping"]["kept"]}


# Each part with how often it repeats its measurements.
PARTS: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "step": (step, 20),
    "stage": (stage, 3),
    "neighbour": (neighbour, 3),
    "gpu": (gpu, 50),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--repeats", type=int, help="of every part; default: 20 steps, 3 stages and so on")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    for name in arguments.parts:
        part, usual = PARTS[name]
        figures |= part(arguments.repeats or usual)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
