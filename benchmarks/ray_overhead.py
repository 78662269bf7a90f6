"""What a stage costs beside a plain loop over the same classes: `python -m benchmarks.ray_overhead`.

The same training, images a second from the end of the first epoch to the end of the last, everything in between
included: checkpoints, progress, tracking. One worker trains in the stage's process, several on Ray Train; the plain
loops of several are processes that PyTorch joins. Each pair runs one after the other, again and again.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cuhs.export import ModelCard, save_hsl
from cuhs.network.cuhs import make_hsl
from cuhs.training.epoch import EpochPart
from examples.train_without_pipeline import draw_and_build
from pipelines.base import params
from pipelines.base.params import Params
from pipelines.training import start
from pipelines.training.trainings import ReIDRun

# (workers, threads of each)
TEAMS = ((1, 1), (1, 2), (2, 1))


class Clock:
    """Stands for a run of MLflow; keeps when each epoch ended."""

    def __init__(self) -> None:
        self.ends: dict[int, float] = {}

    def history(self, epochs: list[dict[str, float]]) -> None:
        """Note when an epoch was there for the first time."""
        self.ends.setdefault(len(epochs), time.monotonic())

    def machine(self, values: dict[str, float]) -> None:
        """Machine metrics are measured, and dropped here."""


def plain(p: Params, paths: dict[str, str], rank: int, port: int) -> dict[str, float]:
    """``seconds`` an epoch of the loop, and the share of them ``waiting`` for batches, both without its first one."""
    workers = p.compute.workers
    torch.set_num_threads(p.compute.cpus_per_worker or 1)
    if workers > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
    training = ReIDRun(p, paths, torch.device("cpu"), rank, workers)
    ends, waiting = [], []
    for epoch in range(training.epochs):
        metrics = training.epoch(epoch, EpochPart(), lambda done, steps: None)
        ends.append(time.monotonic())
        waiting.append(metrics["waiting"])
    return {"seconds": (ends[-1] - ends[0]) / (len(ends) - 1), "waiting": statistics.mean(waiting[1:])}


def stage(p: Params, paths: dict[str, str]) -> dict[str, float]:
    """``seconds`` an epoch of the stage, without its first one."""
    run: Any = Clock()
    start.train(ReIDRun, p, paths, "train-overhead", run)
    return {"seconds": (run.ends[max(run.ends)] - run.ends[1]) / (max(run.ends) - 1)}


def child() -> None:
    """Measure one way in a folder of its own; the last line is JSON."""
    way, rank, port, data, values = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]), sys.argv[6]
    p = params.with_values(params.load(), json.loads(values))
    paths = {"dataset": str(data / "dataset"), "hsl": str(data / "hsl")}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(json.dumps(stage(p, paths) if way == "stage" else plain(p, paths, rank, port)))


def measured(way: str, data: Path, values: dict[str, Any]) -> dict[str, float]:
    """What :func:`plain` or :func:`stage` found, in processes of their own.

    Args:
        way: ``plain`` or ``stage``.
        data: the folder that :func:`prepare` filled.
        values: parameters that differ from those of ``params.yaml``, ``compute.workers`` among them.
    """
    processes = values["compute.workers"] if way == "plain" else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.ray_overhead", "child", way]
    rest = [str(port), str(data), json.dumps(values)]
    started = [
        subprocess.Popen([*command, str(rank), *rest], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for rank in range(processes)
    ]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{' '.join([*command, '0', *rest])} failed; run it to see why")
    return json.loads(outputs[0].splitlines()[-1])


def team(workers: int, threads: int, epochs: int) -> dict[str, Any]:
    """Parameters of a training on this machine's cores."""
    return {
        "compute.workers": workers,
        "compute.cpus_per_worker": threads,
        "compute.gpu": "no",
        "train.epochs": epochs,
    }


def prepare(data: Path, identities: int) -> int:
    """Draw and build a small FG-Synth, save an untrained localiser; returns the images an epoch."""
    draw_and_build(data / "fg_synth", data / "dataset", identities)
    p = params.load()
    card = ModelCard(network=p.network, height=p.image.height, width=p.image.width, localises=True)
    save_hsl(make_hsl(p.network), card, data / "hsl")
    paths = {"dataset": str(data / "dataset"), "hsl": str(data / "hsl")}
    training = ReIDRun(p, paths, torch.device("cpu"), 0, 1)
    return len(training.sampler) * p.train.identities * p.train.images_per_identity


def against_plain(repeats: int, epochs: int, identities: int) -> dict[str, Any]:
    """Compare for each of :data:`TEAMS`; prints a table.

    Returns:
        ``ray_overhead``, the stage's pace as a share of the plain loop's for each team, and ``loader_share``, the
        share of its time that the plain loop of the last team with one worker waits for batches.
    """
    found: dict[str, float] = {}
    waiting = 0.0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        images = prepare(data, identities)
        print(f"{'workers x threads':<18} {'plain':>7} {'stage':>7} {'ratio':>6}   images a second", flush=True)
        for workers, threads in TEAMS:
            values = team(workers, threads, epochs)
            pairs = [[measured(way, data, values) for way in ("plain", "stage")] for _ in range(repeats)]
            by_way = [
                images / statistics.median(each["seconds"] for each in side) for side in zip(*pairs, strict=True)
            ]
            ratio = statistics.median(loop["seconds"] / whole["seconds"] for loop, whole in pairs)
            found[f"{workers}x{threads}"] = round(ratio, 3)
            if workers == 1:
                waiting = statistics.median(loop["waiting"] for loop, _ in pairs)
            print(f"{f'{workers} x {threads}':<18} {by_way[0]:7.1f} {by_way[1]:7.1f} {ratio:6.3f}", flush=True)
    return {"ray_overhead": found, "loader_share": round(waiting, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_overhead", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--identities", type=int, default=60)
    print(json.dumps(against_plain(**vars(parser.parse_args()))))


if __name__ == "__main__":
    child() if sys.argv[1:2] == ["child"] else main()
