"""Decides where a stage runs: in this process, or as a job on the cluster that ``RAY_ADDRESS`` names."""

import os
from collections.abc import Callable

from pipelines.base import cli


def elsewhere() -> bool:
    """Whether ``RAY_ADDRESS`` names a job server (``http://…``); stages then run there."""
    return os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://"))


def run_stage(name: str, work: Callable[[], object]) -> int:
    """Run a stage, here or as a job; returns the exit code of :func:`pipelines.base.cli.run`."""
    if not elsewhere():
        return cli.run(work)

    def submit() -> None:
        # Not at the top: it takes seconds to import.
        from pipelines.cluster.submit import submit

        submit(name)

    return cli.run(submit)
