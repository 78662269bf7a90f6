"""MLflow: one run for each model version, written to by several stages and never twice.

``MLFLOW_TRACKING_URI`` names a server; without it the store is ``mlflow.db`` in the working folder.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A server that is away must not hold up training: few retries, short waits, entries are sent again next epoch.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.WARNING)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunStatus, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from cuhs.errors import CuhsError  # noqa: E402
from pipelines.versions import git_commit  # noqa: E402

log = logging.getLogger(__name__)


def uri() -> str:
    """The tracking store, absolute, so that workers in another folder find the same one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


class Run:
    """A run that exists: writes to it by id, from any process.

    Args:
        run_id: of the run.
        store: tracking URI; the default is :func:`uri`.
    """

    def __init__(self, run_id: str, store: str | None = None) -> None:
        self.id = run_id
        self.client = MlflowClient(store or uri())

    @classmethod
    def start(cls, experiment: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> "Run":
        """Open a new run with its parameters and the commit it comes from.

        Raises:
            CuhsError: the tracking server cannot be reached.
        """
        client = MlflowClient(uri())
        commit, dirty = git_commit()
        tags = {**tags, "mlflow.source.git.commit": commit, "cuhs.git_dirty": str(dirty).lower()}
        try:
            run = client.create_run(_experiment(client, experiment), tags=tags, run_name=name)
            flat = _flat(params)
            client.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in flat.items()])
        except MlflowException as error:
            raise CuhsError(
                f"MLFLOW_TRACKING_URI: {uri()} does not answer ({error}); start it or unset it"
            ) from error
        return cls(run.info.run_id)

    def exists(self) -> bool:
        """Whether the store knows the run."""
        try:
            self.client.get_run(self.id)
        except MlflowException:
            return False
        return True

    def history(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Send the epochs that the store has not yet; epoch ``i`` is step ``i + 1``. A failure is only a warning."""
        try:
            known = self.client.get_metric_history(self.id, "epoch")
            sent = max((metric.step for metric in known), default=0)
            now = int(time.time() * 1000)
            for step, metrics in enumerate(epochs[sent:], start=sent + 1):
                entries = [Metric(f"train/{key}", float(value), now, step) for key, value in metrics.items()]
                self.client.log_batch(self.id, metrics=[*entries, Metric("epoch", float(step), now, step)])
        except Exception as error:  # whatever a store can raise, training is worth more
            log.warning("MLflow does not take entries (%s); they are sent after a later epoch", _line(error))

    def metrics(self, values: Mapping[str, float | None]) -> None:
        """Log single values; those that are None are left out."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, 0) for key, value in values.items() if value is not None]
        self.client.log_batch(self.id, metrics=entries)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.id, tags=[RunTag(key, value) for key, value in values.items()])

    def artifacts(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or all of a folder."""
        if path.is_dir():
            self.client.log_artifacts(self.id, str(path), folder)
        else:
            self.client.log_artifact(self.id, str(path), folder)

    def reopen(self) -> None:
        """Mark the run as running again."""
        self.client.update_run(self.id, RunStatus.to_string(RunStatus.RUNNING))

    def finish(self, failed: bool = False) -> None:
        """End the run."""
        self.client.set_terminated(self.id, RunStatus.to_string(RunStatus.FAILED if failed else RunStatus.FINISHED))


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    try:
        # Artifacts beside the local store; a server decides for itself.
        location = Path("mlartifacts").resolve().as_uri() if uri().startswith("sqlite:") else None
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:
        # Another process made it in between, or the store is away and says so again.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
