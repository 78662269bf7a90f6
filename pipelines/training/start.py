"""Runs a training: on Ray Train, or in this process if one worker on this machine is all that is wanted."""

import os
from typing import TYPE_CHECKING, Any

from pipelines.base.params import Params
from pipelines.training import runs
from pipelines.training.here import train_here
from pipelines.training.ray_training import train_on_ray
from pipelines.training.worker import Make

if TYPE_CHECKING:
    from pipelines.tracking.run import Run


def train(make: Make, params: Params, paths: dict[str, str], name: str, run: "Run") -> dict[str, Any]:
    """Run a training on ``compute.workers`` workers, from its last checkpoint if it has one.

    One worker needs nothing of Ray: no other processes, and none of the half minute in which they start.

    Args:
        make: builds the training on a worker from (params, paths, device, rank, workers).
        params: all parameters.
        paths: absolute paths that ``make`` needs.
        name: the run directory's name.
        run: the MLflow run that gets the epochs.

    Returns:
        The last checkpoint's state: ``model``, ``optimizer``, and ``history``, one dict for each epoch.

    Raises:
        CuhsError: the training itself failed, or its workers failed more often than ``compute.max_failures``.
        Terminated: at SIGTERM, after a checkpoint was saved.
    """
    if params.compute.workers > 1 or os.environ.get("RAY_ADDRESS"):
        train_on_ray(make, params, paths, name, run)
    else:
        train_here(make, params, paths, name, run)
    return runs.last_state(name, run)
