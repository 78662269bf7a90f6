"""MLflow: one run for each model version, written to by several stages, never twice and never waited for.

``MLFLOW_TRACKING_URI`` names a server; without it the store is ``mlflow.db`` in the working folder. Only the
process of a stage speaks to it. What a server does not take waits in ``runs/outbox`` and is sent with the next
entry, or when the next stage starts.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from cuhs.errors import CuhsError
from pipelines.outbox import Entry, Outbox
from pipelines.versions import git_commit

OUTBOX = Path("runs/outbox")
KEY = "cuhs.key"
# Answers that will be the same tomorrow.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST"}
# A store that did not answer is left alone for so long: nobody waits for it with every entry.
REST_S = 60.0
# MLflow takes so many parameters at a time.
PARAMS_AT_ONCE = 100

log = logging.getLogger(__name__)
# What fails is told of once, below.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass(frozen=True)
class DataUsed:
    """A dataset as MLflow shows it.

    Attributes:
        name: of the dataset.
        digest: what DVC calls this version, at most 36 characters.
        source: where it lies.
        counts: of images and identities, by split.
        context: what it was used for, ``training`` or ``evaluation``.
    """

    name: str
    digest: str
    source: str
    counts: Mapping[str, Any]
    context: str


def new_key() -> str:
    """For a run that is yet to open."""
    return uuid4().hex


def uri() -> str:
    """The tracking store, absolute, so that processes in another folder find the same one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def connect() -> MlflowClient:
    """A client of the tracking store; nothing is asked of it yet.

    Raises:
        CuhsError: ``MLFLOW_TRACKING_URI`` is no address of a store.
    """
    try:
        return MlflowClient(uri())
    except MlflowException as error:
        raise CuhsError(f"MLFLOW_TRACKING_URI: {uri()} is no address of a tracking store ({_line(error)})") from error


def does_not_answer(error: Exception) -> CuhsError:
    """The one line for who cannot go on without the store."""
    return CuhsError(f"MLFLOW_TRACKING_URI: {uri()} does not answer ({_line(error)}); start it or unset it")


class Run:
    """A run, written to by its key; the store may learn of it later.

    Args:
        key: the run's own name, which the store keeps as a tag.
        run_id: what the store calls it, where that is known.
    """

    _failure: Exception = MlflowException("not asked yet")
    _rests_until = 0.0

    def __init__(self, key: str, run_id: str | None = None) -> None:
        self.key = key
        self.client = connect()
        self._id = run_id
        self._looks: int | None = None
        self._told = False
        self._outbox = Outbox(OUTBOX / key)

    @classmethod
    def start(
        cls,
        experiment: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        description: str = "",
        data: DataUsed | None = None,
        parent: str | None = None,
        key: str | None = None,
    ) -> "Run":
        """Open a new run with its parameters, the data it uses and the commit it comes from.

        Args:
            experiment: that it is a run of.
            name: shown in the UI.
            tags: more than those of the commit.
            params: nested; flat in MLflow.
            description: shown on the run's page.
            data: the dataset it uses.
            parent: key of the run that it is a child of.
            key: its own, as :func:`new_key` gave it, where that is noted before; by default a new one.
        """
        run = cls(key or new_key())
        commit, dirty = git_commit()
        tags = {
            **tags,
            KEY: run.key,
            "mlflow.source.git.commit": commit,
            "cuhs.git_dirty": str(dirty).lower(),
            "mlflow.note.content": description,
        }
        run._put(
            do="create",
            experiment=experiment,
            name=name,
            tags={key: value for key, value in tags.items() if value},
            params={key: str(value) for key, value in _flat(params).items()},
            data=asdict(data) if data else None,
            parent=parent,
            time=_now(),
        )
        return run

    @classmethod
    def read(cls, path: Path) -> "Run":
        """The run that a file names, as :meth:`write` made it.

        Raises:
            CuhsError: there is no such file, or it is something else.
        """
        try:
            about = json.loads(path.read_text())
            return cls(about["key"], about["run_id"])
        except FileNotFoundError as error:
            raise CuhsError(f"{path}: missing; train the model first (dvc repro)") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CuhsError(f"{path}: names no run; train the model again (dvc repro -f train)") from error

    @classmethod
    def going_on(cls, tag: str, value: str) -> "Run | None":
        """The run with a tag that has not ended, for who lost all that it had on its disk; none without an answer."""
        client = connect()
        try:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            where = f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
            runs = client.search_runs(experiments, where, max_results=1)
        except MlflowException:
            return None
        return cls(runs[0].data.tags[KEY], runs[0].info.run_id) if runs else None

    def write(self, path: Path) -> None:
        """Name the run in a file, for the stages after this one."""
        path.write_text(json.dumps({"key": self.key, "run_id": self.id}, indent=2) + "\n")

    @property
    def id(self) -> str | None:
        """What the store calls the run; none where it does not know it or does not answer."""
        if self._id is None and not self._waiting("create"):
            try:
                self._id = self._find()
            except MlflowException:
                return None
        return self._id

    def lost(self) -> bool:
        """Whether the store answers and does not know the run."""
        try:
            return not self._waiting("create") and self._find() is None
        except MlflowException:
            return False

    def holds(self, tag: str) -> bool | None:
        """Whether the run has a tag, in the store or on the way there; none where that cannot be told."""
        waiting = self._outbox.pending()
        if any(tag in entry.get("tags", ()) for entry in waiting):
            return True
        if any(entry["do"] == "create" for entry in waiting):
            return False
        try:
            return tag in self.client.get_run(self.id).data.tags if self.id else None
        except MlflowException:
            return None

    def history(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs that were not logged yet; epoch ``i`` is step ``i + 1``."""
        for step in range(self._logged() + 1, len(epochs) + 1):
            values = {f"train/{key}": float(value) for key, value in epochs[step - 1].items()}
            self._put(do="epoch", step=step, metrics={**values, "epoch": float(step)}, time=_now())

    def machine(self, values: Mapping[str, float]) -> None:
        """Log how busy a machine is, now; ``system/…``, which MLflow shows on a page of its own."""
        if self._looks is None:
            self._looks = self._last_step(next(iter(values)))
        self._looks += 1
        self._put(do="metrics", step=self._looks, metrics=dict(values), time=_now())

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log single values; those that are None are left out."""
        held = {key: float(value) for key, value in values.items() if value is not None}
        self._put(do="metrics", step=step, metrics=held, time=_now())

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._put(do="tags", tags=dict(values))

    def artifacts(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or all of a folder."""
        self._put(do="artifacts", path=str(path.resolve()), folder=folder)

    def reopen(self) -> None:
        """Mark the run as running again."""
        self._put(do="reopen")

    def finish(self, failed: bool = False) -> None:
        """End the run; all that waits is tried once more."""
        Run._rests_until = 0.0
        status = RunStatus.FAILED if failed else RunStatus.FINISHED
        self._put(do="finish", status=RunStatus.to_string(status), time=_now())

    def send(self) -> bool:
        """Send what waits, if the store takes it; says so once where it does not."""
        error = self._outbox.deliver(self._send_or_drop)
        if error and not self._told:
            log.warning("MLflow does not take entries (%s); they wait in %s", _line(error), OUTBOX / self.key)
        self._told = error is not None
        return error is None

    def _put(self, **entry: Any) -> None:
        self._outbox.put(entry)
        self.send()

    def _waiting(self, do: str) -> bool:
        return any(entry["do"] == do for entry in self._outbox.pending())

    def _logged(self) -> int:
        """The last epoch that is logged or waits to be."""
        steps = [entry["step"] for entry in self._outbox.pending() if entry["do"] == "epoch"]
        try:
            return max(steps) if steps else self._known_epochs()
        except MlflowException:
            return 0

    def _known_epochs(self) -> int:
        return int(self.client.get_run(self.id).data.metrics.get("epoch", 0)) if self.id else 0

    def _last_step(self, metric: str) -> int:
        try:
            points = self.client.get_metric_history(self.id, metric) if self.id else []
        except MlflowException:
            return 0
        return max((point.step for point in points), default=0)

    def _find(self) -> str | None:
        if self._id:
            try:
                return str(self.client.get_run(self._id).info.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
        found = self._search()
        return str(found.info.run_id) if found else None

    def _search(self) -> MlflowRun | None:
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        runs = self.client.search_runs(experiments, f"tags.`{KEY}` = '{self.key}'")
        # Where an answer gets lost, MLflow's client asks again, and the store makes a run twice.
        for twin in runs[1:]:
            self.client.delete_run(twin.info.run_id)
        return runs[0] if runs else None

    def _send_or_drop(self, entry: Entry) -> None:
        if time.monotonic() < Run._rests_until:
            raise Run._failure
        try:
            self._send(entry)
        except Exception as error:  # whatever a server can raise
            refused = isinstance(error, MlflowException) and error.error_code in REFUSALS
            # A file may be gone where a stage was killed before it could send it.
            if not refused and not isinstance(error, FileNotFoundError):
                Run._failure, Run._rests_until = error, time.monotonic() + REST_S
                raise
            log.warning("MLflow refuses an entry (%s): %s of run %s is dropped", _line(error), entry["do"], self.key)

    def _send(self, entry: Entry) -> None:
        if entry["do"] == "create":
            self._create(entry)
            return
        run = self._id = self._id or self._find()
        if run is None:
            raise MlflowException("the store lost the run", RESOURCE_DOES_NOT_EXIST)
        match entry["do"]:
            case "epoch":
                # Killed after sending and before noting it, or given by a resumed training again.
                if entry["step"] > self._known_epochs():
                    self._log_metrics(run, entry)
            case "metrics":
                self._log_metrics(run, entry)
            case "tags":
                self.client.log_batch(run, tags=[RunTag(key, value) for key, value in entry["tags"].items()])
            case "artifacts" if Path(entry["path"]).is_dir():
                self.client.log_artifacts(run, entry["path"], entry["folder"])
            case "artifacts":
                self.client.log_artifact(run, entry["path"], entry["folder"])
            case "reopen":
                self.client.update_run(run, RunStatus.to_string(RunStatus.RUNNING))
            case "finish":
                self.client.set_terminated(run, entry["status"], entry["time"])

    def _create(self, entry: Entry) -> None:
        if self._search() is None:
            tags = entry["tags"]
            if entry["parent"]:
                parent = Run(entry["parent"])
                if not parent.send() or parent.id is None:
                    raise MlflowException("the run that this is a child of is not there yet")
                tags |= {"mlflow.parentRunId": parent.id}
            experiment = _experiment(self.client, entry["experiment"])
            self.client.create_run(experiment, entry["time"], tags, entry["name"])
        self._id = run = self._find()
        if run is None:
            raise MlflowException("the store does not know the run that it made")
        params = [Param(key, value) for key, value in entry["params"].items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=params[start : start + PARAMS_AT_ONCE])
        if entry["data"]:
            self.client.log_inputs(run, [_dataset_input(**entry["data"])])

    def _log_metrics(self, run: str, entry: Entry) -> None:
        metrics = [Metric(key, value, entry["time"], entry["step"]) for key, value in entry["metrics"].items()]
        self.client.log_batch(run, metrics=metrics)


def send_left() -> None:
    """Send what earlier stages could not."""
    Run._rests_until = 0.0
    for folder in sorted(OUTBOX.glob("*/")):
        if not Run(folder.name).send():
            return  # the others would wait for the same server


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


def _dataset_input(name: str, digest: str, source: str, counts: Mapping[str, Any], context: str) -> DatasetInput:
    dataset = Dataset(
        name=name, digest=digest, source_type="dvc", source=json.dumps({"uri": source}), profile=json.dumps(counts)
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _now() -> int:
    """Milliseconds since 1970, as MLflow has them."""
    return int(time.time() * 1000)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
