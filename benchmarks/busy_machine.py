"""How much of its pace a training on CPUs keeps beside other work: `python -m benchmarks.busy_machine`.

A training with a thread for each core computes the same steps alone and beside as many busy processes as there are
cores. A fair share would leave it half its pace. Threads that spin while they wait for one another lose far more:
they burn the share of the thread that they wait for.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys

import numpy as np

from cuhs.machine import usable_cpus

# What a process finds in its environment before it imports PyTorch.
POLICIES = {
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
    "PyTorch's default": {},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
}
STEPS = """
import sys, time, torch
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
torch.set_num_threads(int(sys.argv[1]))
config = NetworkConfig.model_validate({"backbone": "mobilenet_v2", "weights": "none", "channels": 128, "streams": {
    "bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 5}, "head_shoulder": {"kind": "part"}}})
model = CUHS(config, make_hsl(config)).train().to(memory_format=torch.channels_last)
images = torch.rand(32, 3, 96, 48).contiguous(memory_format=torch.channels_last)
def step():
    sum(feature.square().mean() for feature in model(images).values()).backward()
step()
started, steps = time.perf_counter(), 0
while time.perf_counter() - started < float(sys.argv[2]):
    step()
    steps += 1
print(len(images) * steps / (time.perf_counter() - started))
"""


def burn() -> None:
    """Keep one core busy."""
    rng = np.random.default_rng(0)
    while True:
        rng.random(10_000).sort()


def images_per_second(policy: str, threads: int, seconds: float) -> float:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", STEPS, str(threads), str(seconds)]
    done = subprocess.run(command, env=kept | POLICIES[policy], capture_output=True, text=True, check=True)
    return float(done.stdout)


def against_neighbours(repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Compute alone and beside busy processes, by turns; prints a table.

    Args:
        repeats: how often each is measured; medians count.
        seconds: of each measurement.

    Returns:
        For each of :data:`POLICIES`, images a second ``alone`` and ``busy``, and the share of its pace that is
        ``kept``.
    """
    cores = usable_cpus()
    found: dict[tuple[str, bool], list[float]] = {(policy, busy): [] for policy in POLICIES for busy in (False, True)}
    for _ in range(repeats):
        for busy in (False, True):
            neighbours = [multiprocessing.Process(target=burn, daemon=True) for _ in range(cores if busy else 0)]
            for neighbour in neighbours:
                neighbour.start()
            for policy in POLICIES:
                found[policy, busy].append(images_per_second(policy, cores, seconds))
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.join()
    figures = {}
    print(f"{'threads wait':<20} {'alone':>8} {'busy':>8} {'kept':>6}   images a second, {cores} threads")
    for policy in POLICIES:
        alone, busy = (statistics.median(found[policy, beside]) for beside in (False, True))
        print(f"{policy:<20} {alone:8.1f} {busy:8.1f} {busy / alone:6.2f}", flush=True)
        figures[policy] = {"alone": round(alone, 1), "busy": round(busy, 1), "kept": round(busy / alone, 2)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy_machine", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    print(json.dumps(against_neighbours(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
