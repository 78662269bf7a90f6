"""What is done with a stage's jobs, decided from what the cluster says of them and from nothing else."""

from collections.abc import Callable, Mapping
from enum import Enum

from ray.job_submission import JobStatus

# How long a cluster that does not answer is waited for.
PATIENCE_S = 600.0
OVER = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
# Of a driver that somebody else ended: none where its machine is gone, then SIGKILL and SIGTERM.
KILLED = (None, -9, 137, 143)


class Outcome(Enum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    STOPPED = "was stopped"
    FAILED = "failed"
    LOST = "lost its machines"


def outcome(status: JobStatus, exit_code: int | None) -> Outcome:
    """How a job that is over ended, by its status and its driver's exit code."""
    if status is JobStatus.SUCCEEDED:
        return Outcome.SUCCEEDED
    if status is JobStatus.STOPPED:
        return Outcome.STOPPED
    return Outcome.LOST if exit_code in KILLED else Outcome.FAILED


def job_of(base: str, jobs: Mapping[str, JobStatus], unfetched: Callable[[str], bool]) -> tuple[str, bool]:
    """The job to follow for an order, and whether it is there already.

    Args:
        base: what the names of all jobs of the order begin with.
        jobs: all that the cluster knows, with their status.
        unfetched: whether the outputs of a job that succeeded are still to be fetched.
    """
    known = sorted(name for name in jobs if name.startswith(f"{base}-"))
    for name in known:
        if jobs[name] not in OVER or (jobs[name] is JobStatus.SUCCEEDED and unfetched(name)):
            return name, True
    return f"{base}-{len(known) + 1}", False


class Next(Enum):
    """What is done after an error of the connection to a cluster."""

    ASK_AGAIN = "ask again"
    SUBMIT_AGAIN = "the cluster has started anew and does not know the job"
    GIVE_UP = "it did not answer for too long"


def after_error(error: str, silent_s: float) -> Next:
    """What to do after an error, where no answer has come for so many seconds."""
    if "does not exist" in error or "404" in error:
        return Next.SUBMIT_AGAIN
    return Next.GIVE_UP if silent_s > PATIENCE_S else Next.ASK_AGAIN


def unseen(text: str, place: int, printed: int) -> str:
    """What is new of a text at a place in a log of which so many characters are printed."""
    return text[max(0, printed - place) :]
