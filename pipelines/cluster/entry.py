"""Decides where a stage runs: in this process, or as a job on the cluster that ``RAY_ADDRESS`` names."""

import os
from collections.abc import Callable

from pipelines.base import cli, params
from pipelines.cluster.supervisor import supervised


def elsewhere() -> bool:
    """Whether ``RAY_ADDRESS`` names a job server (``http://…``); stages then run there."""
    return os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://"))


def run_training(name: str, work: Callable[[], object]) -> int:
    """As :func:`run_stage`, for a stage that goes on from checkpoints: it is started again if Ray is killed here."""
    if os.environ.get("RAY_ADDRESS"):
        return run_stage(name, work)
    code = 0

    def supervise() -> None:
        nonlocal code
        code = supervised(work, params.load().compute.max_failures)

    return cli.run(supervise) or code


def run_stage(name: str, work: Callable[[], object]) -> int:
    """Run a stage, here or as a job; returns the exit code of :func:`pipelines.base.cli.run`."""
    if not elsewhere():
        return cli.run(work)

    def submit() -> None:
        # Not at the top: it takes seconds to import.
        from pipelines.cluster.submit import submit

        submit(name)

    return cli.run(submit)
