"""Decides what to do with a stage's jobs, only from what the cluster says about them."""

from collections.abc import Callable, Mapping
from enum import Enum

from ray.job_submission import JobStatus

# How long to wait for a cluster that does not answer.
PATIENCE_S = 600.0
OVER = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
# Exit codes of a driver that was ended from outside: none if its machine is gone, SIGKILL (two forms), SIGTERM.
KILLED = (None, -9, 137, 143)


class Outcome(Enum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    STOPPED = "was stopped"
    FAILED = "failed"
    LOST = "lost its machines"


def outcome(status: JobStatus, exit_code: int | None) -> Outcome:
    """How a finished job ended, by its status and its driver's exit code."""
    if status is JobStatus.SUCCEEDED:
        return Outcome.SUCCEEDED
    if status is JobStatus.STOPPED:
        return Outcome.STOPPED
    return Outcome.LOST if exit_code in KILLED else Outcome.FAILED


def job_of(base: str, jobs: Mapping[str, JobStatus], unfetched: Callable[[str], bool]) -> tuple[str, bool]:
    """The name of the job to follow for an order, and whether it exists already.

    Args:
        base: the start of the names of all jobs for the order.
        jobs: all jobs that the cluster knows, with their status.
        unfetched: whether the outputs of a job that succeeded have not been fetched yet.
    """
    known = sorted(name for name in jobs if name.startswith(f"{base}-"))
    for name in known:
        if jobs[name] not in OVER or (jobs[name] is JobStatus.SUCCEEDED and unfetched(name)):
            return name, True
    return f"{base}-{len(known) + 1}", False


class Next(Enum):
    """What to do after an error in the connection to a cluster."""

    ASK_AGAIN = "ask again"
    SUBMIT_AGAIN = "the cluster has started anew and does not know the job"
    GIVE_UP = "it did not answer for too long"


def after_error(error: str, silent_s: float) -> Next:
    """What to do after an error, when no answer has come for ``silent_s`` seconds."""
    if "does not exist" in error or "404" in error:
        return Next.SUBMIT_AGAIN
    return Next.GIVE_UP if silent_s > PATIENCE_S else Next.ASK_AGAIN


def unseen(text: str, place: int, printed: int) -> str:
    """The new part of a text that starts at ``place`` in a log, of which ``printed`` characters are printed."""
    return text[max(0, printed - place) :]
