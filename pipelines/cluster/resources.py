"""The Ray cluster that a stage is in, and how trainings share what it has."""

import logging
import math
import os
from typing import Any

from cuhs.errors import CuhsError
from pipelines.base.params import Compute


def start_ray() -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start Ray in this process."""
    import ray

    if ray.is_initialized():
        return
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


def scaling(compute: Compute, resources: dict[str, float], node_cpus: float, trials: int = 1) -> dict[str, Any]:
    """Arguments of Ray's ``ScalingConfig``: workers share what the cluster has.

    Args:
        compute: how many workers, on what.
        resources: of the whole cluster: ``CPU`` and, where there are any, ``GPU``.
        node_cpus: of the largest node.
        trials: how many such trainings run beside one another.

    Raises:
        CuhsError: more GPUs are wanted than this machine has.
    """
    gpus = resources.get("GPU", 0)
    # A cluster may start nodes when they are asked for.
    if compute.gpu == "yes" and gpus < compute.workers and not os.environ.get("RAY_ADDRESS"):
        raise CuhsError(f"compute.gpu: {compute.workers} workers need as many GPUs, this machine has {gpus:g}")
    share = min(node_cpus, resources.get("CPU", 1) / (compute.workers * trials), compute.cpus_per_worker or math.inf)
    cpus = math.floor(share) if share >= 1 else share
    return {
        "num_workers": (compute.min_workers, compute.workers) if compute.min_workers else compute.workers,
        "use_gpu": compute.gpu == "yes" or (compute.gpu == "auto" and gpus >= compute.workers),
        "resources_per_worker": {"CPU": cpus},
    }


def concurrent(compute: Compute, resources: dict[str, float], node_cpus: float) -> int:
    """How many trainings the cluster can run beside one another without waiting for one another."""
    gpus = resources.get("GPU", 0)
    if compute.gpu != "no" and gpus >= compute.workers:
        return int(gpus // compute.workers)
    wanted = compute.workers * min(node_cpus, compute.cpus_per_worker or math.inf)
    return max(1, int(resources.get("CPU", 1) // wanted))
