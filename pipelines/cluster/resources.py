"""What the Ray cluster that a stage has joined has, and how trainings share it."""

import math
import os
from typing import Any

from cuhs.errors import CuhsError
from pipelines.base.params import Compute


def resources() -> tuple[dict[str, float], float]:
    """The cluster's total ``CPU`` and, if there are any, ``GPU``; and the CPUs of its largest node."""
    import ray

    largest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    return ray.cluster_resources(), largest


def scaling(compute: Compute, resources: dict[str, float], node_cpus: float, trials: int = 1) -> dict[str, Any]:
    """Arguments of Ray's ``ScalingConfig``, with which workers share the cluster.

    Args:
        compute: the number of workers, and whether they use GPUs.
        resources: the whole cluster's ``CPU`` and, if there are any, ``GPU``.
        node_cpus: the CPUs of the largest node.
        trials: how many such trainings run at the same time.

    Raises:
        CuhsError: the training needs more GPUs than this machine has.
    """
    gpus = resources.get("GPU", 0)
    # A cluster may start nodes on demand, so only a single machine can be short of GPUs.
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
    """How many trainings the cluster can run at the same time."""
    gpus = resources.get("GPU", 0)
    if compute.gpu != "no" and gpus >= compute.workers:
        return int(gpus // compute.workers)
    wanted = compute.workers * min(node_cpus, compute.cpus_per_worker or math.inf)
    return max(1, int(resources.get("CPU", 1) // wanted))
