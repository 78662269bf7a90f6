"""Ray Train around a training: workers, checkpoints, resuming, progress.

A stage gives a function that builds a :class:`Training` on a worker; everything else is the same for both steps.
Checkpoints lie in ``runs/NAME``, outside DVC's outputs (DVC deletes those before a stage runs); the name is a
hash of all inputs, so the same command goes on where it was killed and a changed parameter starts afresh.
"""

import logging
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from cuhs.errors import CuhsError
from cuhs.machine import usable_cpus
from cuhs.training import checkpoint as checkpoints
from pipelines.machine_metrics import MachineMetrics
from pipelines.params import Compute, Params
from pipelines.progress import WorkerProgress, board

if TYPE_CHECKING:
    from pipelines.tracking import Run

RUNS = Path("runs")


class Training(Protocol):
    """What a stage trains: its state, and one epoch of it."""

    epochs: int

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Its state is checkpointed with the model's."""

    @property
    def model(self) -> nn.Module:
        """What is checkpointed, not wrapped for distributed training."""

    def epoch(self, epoch: int, on_step: Callable[[int, int], None]) -> dict[str, float]:
        """Train one epoch, counted from 0, on this worker's part; ``on_step(done, steps)`` after each step."""


Make = Callable[[Params, dict[str, str], torch.device, int, int], Training]


def train(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> dict[str, Any]:
    """Run a training on ``compute.workers`` workers, from its last checkpoint if it has one.

    Args:
        make: builds the training on a worker from (params, paths, device, rank, workers).
        params: all parameters.
        paths: absolute paths that ``make`` needs.
        name: of the run directory.
        run: where epochs are tracked.

    Returns:
        The last checkpoint's state: ``model``, ``optimizer``, ``epoch`` and ``history``, one dict an epoch.

    Raises:
        CuhsError: the training itself failed, or its workers failed more often than ``compute.max_failures``.
    """
    start_ray()
    folder = (RUNS / name).resolve()
    scaled = scaling(params.compute, *resources())
    run_workers(make, params, paths, folder, run, scaled, label=name.partition("-")[0])
    state = last_state(folder)
    if state is None:
        raise CuhsError(f"{folder}: no whole checkpoint after the training; run the command again")
    run.history(state["history"])
    return state


def run_workers(
    make: Make,
    params: Params,
    paths: dict[str, str],
    folder: Path,
    run: "Run",
    scaled: dict[str, Any],
    label: str | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """The Ray Train run behind a training, in an initialised Ray; arguments as of :func:`train` and

    Args:
        folder: absolute run directory; checkpoints found there are gone on from.
        scaled: what :func:`scaling` gave.
        label: of the bar that shows it; none shows nothing.
        callbacks: of Ray Train.
    """
    import ray.train
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    config: dict[str, Any] = {"make": make, "params": params, "paths": paths, "folder": str(folder)}
    run_config = RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=FailureConfig(max_failures=params.compute.max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
        callbacks=list(callbacks),
    )
    try:
        with board(label, run) as shown:
            trainer = TorchTrainer(
                _worker,
                train_loop_config=config | {"board": shown},
                scaling_config=ScalingConfig(**scaled),
                run_config=run_config,
            )
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise CuhsError(
            f"{folder.name}: workers failed more than {params.compute.max_failures} times "
            f"({str(error).strip().splitlines()[0]}); the same command goes on from the last checkpoint"
        ) from error
    if failure := (result.metrics or {}).get("failure"):
        raise CuhsError(str(failure))


def discard(name: str) -> None:
    """Delete the checkpoints of a run whose outputs are safe."""
    shutil.rmtree(RUNS / name, ignore_errors=True)


def start_ray() -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start Ray in this process."""
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    debug = bool(os.environ.get("CUHS_DEBUG"))
    options: dict[str, Any] = {
        "logging_level": logging.INFO if debug else logging.ERROR,
        "log_to_driver": debug,
    }
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"address": "local", "include_dashboard": False}
    ray.init(**options)


def resources() -> tuple[dict[str, float], float]:
    """What the cluster has in all, ``CPU`` and where there are any ``GPU``, and the CPUs of its largest node."""
    import ray

    largest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    return ray.cluster_resources(), largest


def scaling(
    compute: Compute, resources: dict[str, float], node_cpus: float, trials: int = 1, reserved: float = 0.0
) -> dict[str, Any]:
    """Arguments of Ray's ``ScalingConfig``: workers share what the cluster has.

    Args:
        compute: how many workers, on what.
        resources: of the whole cluster: ``CPU`` and, where there are any, ``GPU``.
        node_cpus: of the largest node.
        trials: how many such trainings run beside one another.
        reserved: CPUs of each node's largest share that are kept free, for what drives a training.

    Raises:
        CuhsError: more GPUs are wanted than there are.
    """
    gpus = resources.get("GPU", 0)
    if compute.gpu == "yes" and gpus < compute.workers:
        raise CuhsError(f"compute.gpu: {compute.workers} workers need as many GPUs, the cluster has {gpus:g}")
    share = min(node_cpus, resources.get("CPU", 1) / (compute.workers * trials), compute.cpus_per_worker or math.inf)
    cpus = math.floor(share) if share >= 1 else share
    return {
        "num_workers": compute.workers,
        "use_gpu": compute.gpu != "no" and gpus >= compute.workers,
        "resources_per_worker": {"CPU": max(cpus - reserved, 0.1)},
    }


def concurrent(compute: Compute, resources: dict[str, float], node_cpus: float) -> int:
    """How many trainings the cluster can run beside one another without waiting for one another."""
    gpus = resources.get("GPU", 0)
    if compute.gpu != "no" and gpus >= compute.workers:
        return int(gpus // compute.workers)
    wanted = compute.workers * min(node_cpus, compute.cpus_per_worker or math.inf)
    return max(1, int(resources.get("CPU", 1) // wanted))


def last_state(folder: Path) -> dict[str, Any] | None:
    """The state of the newest whole checkpoint in a run directory; damaged ones are passed over."""
    for path in sorted(folder.glob("checkpoint_*/"), reverse=True):
        if checkpoints.is_whole(path):
            return checkpoints.load(path)
        logging.getLogger(__name__).warning("%s: damaged or unfinished checkpoint, passed over", path)
    return None


def _worker(config: dict[str, Any]) -> None:
    """One Ray Train worker: build, resume, train epoch by epoch."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    # Ray counts the machine's cores; threads beyond those this process may use would wait for one another.
    torch.set_num_threads(max(1, min(math.ceil(cpus), usable_cpus())))
    folder = Path(config["folder"])
    try:
        training: Training = config["make"](config["params"], config["paths"], device, rank, workers)
        progress = WorkerProgress(config["board"], rank, training.epochs)
        machine = MachineMetrics(config["board"], context)
        machine.start()
        state = last_state(folder)
        history: list[dict[str, float]] = []
        if state:
            training.model.load_state_dict(state["model"])
            training.optimizer.load_state_dict(state["optimizer"])
            history = state["history"]
        for epoch in range(len(history), training.epochs):
            metrics = _mean_over_workers(training.epoch(epoch, partial(progress.position, epoch)))
            if not all(math.isfinite(value) for value in metrics.values()):
                raise CuhsError(f"the loss is not finite in epoch {epoch + 1}; lower lr or warm up longer")
            history.append(metrics)
            if rank == 0:
                _checkpoint(folder, training, history, epoch)
            else:
                ray.train.report(metrics, checkpoint=None)
            progress.end_epoch(history)
        machine.stop()
    except CuhsError as error:
        # Every worker fails alike here; a retry would fail again, so it is reported and not raised.
        ray.train.report({"failure": str(error)})


def _checkpoint(folder: Path, training: Training, history: list[dict[str, float]], epoch: int) -> None:
    import ray.train

    state = {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "epoch": epoch,
        "history": history,
    }
    local = Path(tempfile.mkdtemp())
    checkpoints.save(local, state)
    ray.train.report(
        history[-1],
        checkpoint=ray.train.Checkpoint.from_directory(local),
        # Never a name again: an orphan of a killed attempt may still lie there.
        checkpoint_dir_name=f"checkpoint_{epoch:04d}_{uuid.uuid4().hex[:8]}",
        checkpoint_upload_fn=lambda checkpoint, name: _verified_copy(checkpoint.path, folder / name),
        delete_local_checkpoint_after_upload=True,
    )


def _verified_copy(local: str, target: Path) -> Any:
    """Copy a checkpoint and read it back: Ray's own copy can lose files without a word."""
    import ray.train

    unfinished = target.with_name(f"unfinished_{target.name}")
    shutil.copytree(local, unfinished)
    if not checkpoints.is_whole(unfinished):
        raise OSError(f"{target}: the checkpoint differs from what was written")
    unfinished.rename(target)
    return ray.train.Checkpoint.from_directory(target)


def _mean_over_workers(metrics: dict[str, float]) -> dict[str, float]:
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return metrics
    workers = dist.get_world_size()
    gathered: list[dict[str, float]] = [{} for _ in range(workers)]
    dist.all_gather_object(gathered, metrics)
    means = {key: sum(m[key] for m in gathered) / workers for key in metrics}
    if "images_per_second" in means:
        means["images_per_second"] *= workers
    return means
