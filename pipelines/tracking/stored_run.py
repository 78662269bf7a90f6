"""A run in MLflow's store: delivers the entries of :mod:`pipelines.tracking.run` through MLflow's client."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from cuhs.errors import quoted
from pipelines.tracking.mlflow_store import ARTIFACTS, REFUSALS, Deleted, as_mlflow, connect, line, uri
from pipelines.tracking.outbox import Entry

# The tag that holds a run's own key.
KEY = "cuhs.key"
# Make the UI open an experiment as model training, best models first, with a description of its runs.
EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "all/mAP",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
    "mlflow.note.content": (
        "Fine-grained person re-identification.\n\n"
        "* **model: …** is a trained network with its evaluation: sort by `all/mAP` or `black/mAP`. Compare figures "
        "only if `cuhs.data_version` is the same.\n"
        "* **localiser: …** is a head-shoulder localiser, which several models share.\n"
        "* **search: …** is a search of parameters; its trials are below it.\n\n"
        "`cuhs compare RUN_A RUN_B` says whether one model is better than another."
    ),
}
# What an entry needs to be sent, by its ``do``.
FIELDS: dict[str, dict[str, type]] = {
    "create": {"experiment": str, "name": str, "tags": dict, "params": dict, "time": int},
    "epoch": {"step": int, "metrics": dict, "time": int},
    "metrics": {"step": int, "metrics": dict, "time": int},
    "tags": {"tags": dict},
    "artifacts": {"path": str},
    "reopen": {},
    "finish": {"status": str, "time": int},
}
# MLflow takes at most this many parameters at a time.
PARAMS_AT_ONCE = 100

log = logging.getLogger(__name__)


class StoredRun:
    """A run in the store, found by its key, which is a tag there. All methods may raise ``MlflowException``.

    Args:
        key: the run's key.
        run_id: the store's id of it, if known.
    """

    def __init__(self, key: str, run_id: str | None = None) -> None:
        self.key = key
        self._id = run_id

    @cached_property
    def client(self) -> MlflowClient:
        """The client, opened at first use, so that a store that is away does not stop callers that never ask it."""
        return connect()

    @classmethod
    @as_mlflow
    def going_on(cls, tag: str, value: str) -> MlflowRun | None:
        """The unfinished run with a tag; none if there is none."""
        client = connect()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        where = f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
        runs = client.search_runs(experiments, where, max_results=1)
        return runs[0] if runs else None

    @as_mlflow
    def id(self) -> str | None:
        """The store's id of the run, asked for only once; none if the store does not know the run."""
        self._id = self._id or self.find()
        return self._id

    @as_mlflow
    def epochs(self) -> int:
        """The number of the last logged epoch."""
        run = self.id()
        return int(self.client.get_run(run).data.metrics.get("epoch", 0)) if run else 0

    @as_mlflow
    def last_step(self, metric: str) -> int:
        """The last step of a metric; 0 if there is none."""
        run = self.id()
        return max((point.step for point in self.client.get_metric_history(run, metric)), default=0) if run else 0

    @as_mlflow
    def tags(self) -> dict[str, str] | None:
        """The run's tags; none if the store does not know the run, or if it was deleted."""
        found = self._look()
        return None if found is None or _is_deleted(found) else dict(found.data.tags)

    @as_mlflow
    def find(self) -> str | None:
        """Like :meth:`id`, but always asks the store; none also if the run was deleted."""
        found = self._look()
        return None if found is None or _is_deleted(found) else str(found.info.run_id)

    @as_mlflow
    def deleted(self) -> str | None:
        """The run's id if it was deleted and can be restored; none otherwise."""
        found = self._look()
        return str(found.info.run_id) if found is not None and _is_deleted(found) else None

    def _look(self) -> MlflowRun | None:
        """The run in the store, deleted or not; none if the store does not know it."""
        if self._id:
            try:
                return self.client.get_run(self._id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
        experiments = [e.experiment_id for e in self.client.search_experiments(view_type=ViewType.ALL)]
        runs = list(self.client.search_runs(experiments, f"tags.`{KEY}` = '{self.key}'", ViewType.ALL))
        active = [run for run in runs if not _is_deleted(run)]
        # If an answer gets lost, MLflow's client repeats the request, and the store makes a second run.
        for twin in active[1:]:
            self.client.delete_run(twin.info.run_id)
        return next(iter([*active, *runs]), None)

    @as_mlflow
    def send(self, entry: Entry, parent_id: Callable[[str], str | None]) -> None:
        """Deliver one entry; a run that exists is not created again.

        Args:
            entry: its ``do`` names the action.
            parent_id: gives the id of a run by its key; none if that run is gone.
        """
        if why := flaw(entry):
            raise MlflowException(why, INVALID_PARAMETER_VALUE)
        if entry["do"] == "create":
            self._create(entry, parent_id)
            return
        run = self.id()
        if run is None:
            raise self._gone()
        try:
            self._send(run, entry)
        except MlflowException as error:
            if error.error_code in REFUSALS and self.find() is None:
                raise self._gone() from error
            raise

    def _gone(self) -> MlflowException:
        """The reason why no entry can be sent to the run: it was deleted, or it is lost."""
        if run := self.deleted():
            return Deleted(f"run {run} was deleted; bring it back with: mlflow runs restore --run-id {run}")
        return MlflowException("the store lost the run", RESOURCE_DOES_NOT_EXIST)

    def _send(self, run: str, entry: Entry) -> None:
        match entry["do"]:
            case "epoch":
                # It is there already if a stage was killed right after sending, or if a resumed training repeats it.
                if entry["step"] > self.epochs():
                    self._log_metrics(run, entry)
            case "metrics":
                self._log_metrics(run, entry)
            case "tags":
                self.client.log_batch(run, tags=[RunTag(key, value) for key, value in entry["tags"].items()])
            case "artifacts" if Path(entry["path"]).is_dir():
                self.client.log_artifacts(run, entry["path"], entry.get("folder"))
            case "artifacts":
                self.client.log_artifact(run, entry["path"], entry.get("folder"))
            case "reopen":
                self.client.update_run(run, RunStatus.to_string(RunStatus.RUNNING))
            case "finish":
                self.client.set_terminated(run, entry["status"], entry["time"])

    def _create(self, entry: Entry, parent_id: Callable[[str], str | None]) -> None:
        found = self._look()
        if found is not None and _is_deleted(found):
            raise self._gone()
        if found is None:
            tags = entry["tags"]
            if entry.get("parent"):
                if parent := parent_id(entry["parent"]):
                    tags |= {"mlflow.parentRunId": parent}
                else:
                    log.warning("MLflow: the run above %r is gone; it stands alone", entry["name"])
            experiment = _experiment(self.client, entry["experiment"])
            self.client.create_run(experiment, entry["time"], tags, entry["name"])
        self._id = run = self.find()
        if run is None:
            raise MlflowException("the store does not know the run that it made")
        params = [Param(key, value) for key, value in entry["params"].items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=params[start : start + PARAMS_AT_ONCE])
        if entry.get("data"):
            self._link(run, _dataset_input(**entry["data"]))

    def _link(self, run: str, used: DatasetInput) -> None:
        """Link a run to its data; if the store refuses the link, the run continues without it."""
        try:
            self.client.log_inputs(run, [used])
            return
        except MlflowException:
            pass  # another run may have registered the same data in between, so try once more
        try:
            self.client.log_inputs(run, [used])
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            log.warning("MLflow refuses the link to the data (%s); the run goes on without it", line(error))

    def _log_metrics(self, run: str, entry: Entry) -> None:
        metrics = [Metric(key, value, entry["time"], entry["step"]) for key, value in entry["metrics"].items()]
        self.client.log_batch(run, metrics=metrics)


def flaw(entry: Entry) -> str | None:
    """Why an entry can never be sent; none if it can. It may come from another machine, or be damaged."""
    fields = FIELDS.get(entry["do"])
    if fields is None:
        return f"{quoted(entry['do'])} is nothing that an entry does"
    wrong = [name for name, kind in fields.items() if not isinstance(entry.get(name), kind)]
    return f"it has no proper {wrong[0]}" if wrong else None


def _is_deleted(run: MlflowRun) -> bool:
    return bool(run.info.lifecycle_stage == LifecycleStage.DELETED)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found and found.lifecycle_stage == LifecycleStage.DELETED:
        raise Deleted(
            f"experiment {name!r} was deleted; bring it back with: mlflow experiments restore --experiment-id "
            f"{found.experiment_id}"
        )
    if found:
        for key, value in EXPERIMENT.items():
            # Keep a description that somebody wrote.
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    try:
        # Artifacts go beside a local store; a server chooses its own place.
        location = ARTIFACTS.resolve().as_uri() if uri().startswith("sqlite:") else None
        return client.create_experiment(name, artifact_location=location, tags=EXPERIMENT)
    except MlflowException:
        # Another process made it in between, or the store is away and says so again.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _dataset_input(name: str, digest: str, source: str, counts: Mapping[str, Any], context: str) -> DatasetInput:
    dataset = Dataset(
        name=name, digest=digest, source_type="dvc", source=json.dumps({"uri": source}), profile=json.dumps(counts)
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
