"""Runs a stage on a cluster: submits it as a Ray job, follows the job, and fetches its outputs.

With ``RAY_ADDRESS=http://…`` (a Ray job server) a stage runs there. Code and ``params.yaml`` travel with the job,
inputs and outputs through the object store (``CUHS_STORE``). Credentials do not travel: the cluster has its own. The
job's name is a hash of its order and code. So whoever submits the same stage follows the running job, also after a
lost connection.
"""

import asyncio
import itertools
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.job_submission import JobInfo, JobSubmissionClient
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cuhs.errors import CuhsError
from pipelines.base import params, stages
from pipelines.base.console import console
from pipelines.base.params import Params
from pipelines.base.signals import Terminated, on_sigterm
from pipelines.base.versions import git_commit
from pipelines.cluster.decisions import OVER, PATIENCE_S, Next, Outcome, after_error, job_of, outcome, unseen
from pipelines.cluster.fetch import fetch
from pipelines.cluster.job import JobOrder, read_results
from pipelines.storage.object_store import ObjectStore
from pipelines.storage.transfer import OnProgress

POLL_S = 2.0
TIMEOUT_S = 60.0
# How long a job that is stopped may take to save a checkpoint; Ray would kill it after three seconds.
STOP_S = 120
# All that travels with a job besides code and parameters. The wait policy is that of pipelines/__init__.py, which
# workers import after PyTorch.
VARIABLES = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), "OMP_WAIT_POLICY": "PASSIVE"}
CODE = ("cuhs", "pipelines", "dvc.yaml", "dvc.lock", "params.yaml")

log = logging.getLogger(__name__)
# These log every package and connection.
for talkative in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
    logging.getLogger(f"ray.{talkative}").setLevel(logging.WARNING)


class Lost(Exception):
    """The cluster does not know the job any more."""


class Client(JobSubmissionClient):
    """Ray's client, with a limit on how long it waits for an answer."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        return super()._do_request(*args, **{"timeout": TIMEOUT_S, **kwargs})

    def ray_version(self) -> str:
        """The cluster's version of Ray; ``get_version`` gives the job API's."""
        return str(self._do_request("GET", "/api/version").json()["ray_version"])


def command(stage: str) -> str:
    """Store a stage's inputs; returns the command that submits it by hand. ``dvc repro`` fetches its outputs.

    Raises:
        CuhsError: a server that it needs does not answer, or is not named.
    """
    order = _order(stage, params.load(), ObjectStore.from_environment())
    with tempfile.TemporaryDirectory() as folder:
        _copy_code(Path(folder))
        name = f"{_base(order, Path(folder))}-1"
    return f"ray job submit --submission-id {name} --working-dir . -- {_entrypoint(name, order)}"


def submit(stage: str) -> None:
    """Run a stage on the cluster; afterwards its outputs are here, as if it had run here.

    A job whose machines were lost is submitted again, at most ``compute.max_failures`` times, and continues from its
    last checkpoint.

    Raises:
        CuhsError: the cluster or a server that it needs does not answer, the job failed or was stopped, or its
            outputs could not be fetched.
        KeyboardInterrupt: after the job was stopped.
        Terminated: at SIGTERM; the job continues.
    """
    p = params.load()
    address = os.environ["RAY_ADDRESS"]
    store, client = ObjectStore.from_environment(), _connect(address)
    order = _order(stage, p, store)
    name = _until_it_succeeded(lambda: _follow(client, store, order, p), stage, p.compute.max_failures)
    fetch(store, name, order.outputs, _transfer)


def _until_it_succeeded(follow: Callable[[], str | None], stage: str, most: int) -> str:
    """The result of ``follow``, which is called up to ``most`` more times while it returns none; -1: any number."""
    for _ in range(most + 1) if most >= 0 else itertools.count():
        if name := follow():
            return name
        log.warning("%s: its machines were lost; it is submitted again and goes on from its last checkpoint", stage)
    raise CuhsError(
        f"{stage}: the cluster lost it {most + 1} times; the same command goes on from its last checkpoint"
    )


def _connect(address: str) -> Client:
    try:
        client = Client(address)
        version = client.ray_version()
    except Exception as error:  # of requests, of Ray, of a server that is something else
        raise CuhsError(
            f"RAY_ADDRESS: {address} does not answer ({_line(error)}); start the cluster or unset it"
        ) from error
    if version != ray.__version__:
        raise CuhsError(f"RAY_ADDRESS: {address} runs Ray {version}, this is Ray {ray.__version__}; use one version")
    return client


def _order(stage: str, p: Params, store: ObjectStore) -> JobOrder:
    needed = stages.read(stage)
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not tracking.startswith(("http://", "https://")):
        raise CuhsError(
            "MLFLOW_TRACKING_URI: a job on a cluster cannot write into a file here; name an MLflow server (http://…)"
        )
    if urlsplit(tracking).password:
        raise CuhsError(
            "MLFLOW_TRACKING_URI: the password in it would be seen in Ray's dashboard; set MLFLOW_TRACKING_PASSWORD "
            "here and on the cluster instead"
        )
    files = [*needed.inputs, *_named(p)]
    with _transfer(f"{stage}: inputs") as moved:
        inputs = {str(path): store.push(path, moved) for path in files if path.exists()}
    return JobOrder(stage, inputs, tuple(map(str, needed.outputs)), store.url, tracking, asdict(git_commit()))


def _named(p: Params) -> list[Path]:
    """Files that parameters name."""
    found = []
    for key, value in (("network.weights", p.network.weights), ("evaluate.compare_with", p.evaluate.compare_with)):
        if value and (path := Path(value)).is_file():
            if path.is_absolute() or ".." in path.parts:
                raise CuhsError(f"{key}: {value} is outside the project and cannot travel; put it into data/")
            found.append(path)
    return found


def _follow(client: Client, store: ObjectStore, order: JobOrder, p: Params) -> str | None:
    """Submit or find the job, and show what it prints until it is over.

    Returns:
        Its name if it succeeded, none if its machines were lost.
    """
    with tempfile.TemporaryDirectory() as folder:
        _copy_code(Path(folder))
        name = _start(client, store, order, Path(folder), p)
    console.print(f"{order.stage} runs as {name} on {os.environ['RAY_ADDRESS']}", highlight=False)

    def leave() -> None:
        raise Terminated(f"stopped following {name} by SIGTERM; it goes on, and the same command follows it again")

    try:
        with on_sigterm(leave):
            info = _wait(client, name)
    except Lost:
        return None
    except KeyboardInterrupt:
        console.print(f"stopping {name}", highlight=False)
        with suppress(Exception):
            client.stop_job(name)
            deadline = time.monotonic() + STOP_S + TIMEOUT_S
            while client.get_job_status(name) not in OVER and time.monotonic() < deadline:
                time.sleep(POLL_S)
        raise
    how = outcome(info.status, info.driver_exit_code)
    if how is Outcome.SUCCEEDED:
        return name
    if how is Outcome.LOST:
        return None
    # The job's own message is in the log above.
    code = f" (exit code {info.driver_exit_code})" if how is Outcome.FAILED else ""
    raise CuhsError(f"{name} {how.value}{code}; the same command submits it again, and it goes on where it was")


def _start(client: Client, store: ObjectStore, order: JobOrder, code: Path, p: Params) -> str:
    """The name of this order's job: one that runs, one whose outputs were not fetched yet, or a new one."""
    jobs = {str(job.submission_id): job.status for job in client.list_jobs()}
    name, there = job_of(_base(order, code), jobs, lambda name: bool(read_results(store, name)))
    if there:
        console.print(f"found {name}, {jobs[name].lower()}", highlight=False)
        return name
    try:
        client.submit_job(**_submission(name, order, code, p))
    except Exception as error:
        if name in {job.submission_id for job in client.list_jobs()}:  # somebody else was faster
            return name
        raise CuhsError(f"RAY_ADDRESS: the cluster does not take the job ({_line(error)})") from error
    return name


def _submission(name: str, order: JobOrder, code: Path, p: Params) -> dict[str, Any]:
    """What Ray gets for a job: its order, its code, and no variable that could hold a secret."""
    return {
        "entrypoint": _entrypoint(name, order),
        "submission_id": name,
        "runtime_env": {"working_dir": str(code), "env_vars": VARIABLES},
        "entrypoint_num_gpus": 1 if order.stage == "evaluate" and p.compute.gpu == "yes" else None,
    }


def _wait(client: Client, name: str) -> JobInfo:
    """Print the job's log until it is over.

    Raises:
        Lost: the cluster was restarted and does not know the job.
        CuhsError: it did not answer for :data:`PATIENCE_S`.
    """
    printed, silent_since = 0, None
    while True:
        try:
            printed = asyncio.run(_tail(client, name, printed))
            info = client.get_job_info(name)
            silent_since = None
            if info.status in OVER:
                _show(client.get_job_logs(name)[printed:])
                return info
        except Exception as error:  # of aiohttp, requests and Ray
            now = time.monotonic()
            then = after_error(str(error), now - (silent_since or now))
            if then is Next.SUBMIT_AGAIN:
                raise Lost from error
            if silent_since is None:
                silent_since = now
                console.print(f"the connection is lost ({_line(error)}); trying again", highlight=False)
            if then is Next.GIVE_UP:
                raise CuhsError(
                    f"RAY_ADDRESS: no answer for {PATIENCE_S / 60:.0f} minutes; {name} may still run, and the same "
                    "command follows it again"
                ) from error
        time.sleep(POLL_S)


async def _tail(client: Client, name: str, printed: int) -> int:
    """Print new output until the job or the connection ends; returns how many characters are printed so far."""
    seen = 0
    async for text in client.tail_job_logs(name):
        _show(unseen(text, seen, printed))
        seen += len(text)
        printed = max(printed, seen)
    return printed


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


@contextmanager
def _transfer(label: str) -> Iterator[OnProgress]:
    """A progress bar that counts bytes."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _base(order: JobOrder, code: Path) -> str:
    return f"cuhs-{order.stage}-{order.digest(code)[:16]}"


def _entrypoint(name: str, order: JobOrder) -> str:
    return f"python -m pipelines.cluster.job {name} {shlex.quote(order.to_json())}"


def _copy_code(folder: Path) -> None:
    """Copy the code and the parameters, without data."""
    for item in CODE:
        source = Path(item)
        if source.is_dir():
            shutil.copytree(source, folder / item, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy(source, folder / item)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
