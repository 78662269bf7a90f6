"""MLflow runs, one for each model. Several stages write to a run; nothing is written twice, and no stage waits.

Only a stage's process talks to the store. Entries that the store does not take wait in ``runs/outbox``. They are sent
with the next entry, or when the next stage starts.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException

from cuhs.documents import Document
from cuhs.errors import CuhsError, quoted
from cuhs.files import write_file
from pipelines.base.paths import OUTBOX
from pipelines.base.versions import git_commit
from pipelines.tracking.mlflow_store import REFUSALS, Deleted, NotYet, line
from pipelines.tracking.outbox import KEY as KEY_FORM
from pipelines.tracking.outbox import Entry, Outbox
from pipelines.tracking.stored_run import KEY, StoredRun, flaw

# A store that did not answer is not asked again for this long, so that entries do not all wait for it.
REST_S = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataUsed:
    """A dataset as MLflow shows it.

    Attributes:
        name: the dataset's name.
        digest: DVC's hash of this version, at most 36 characters.
        source: the dataset's path.
        counts: the numbers of images and identities, by split.
        context: its use, ``training`` or ``evaluation``.
    """

    name: str
    digest: str
    source: str
    counts: Mapping[str, Any]
    context: str


@dataclass(frozen=True)
class _Named:
    """How a stage names a run in a file, for the stages after it."""

    key: str
    run_id: str | None


_NAMED = Document(_Named, "the name of a run", "train and evaluate the model first (delete the file, then dvc repro)")


def new_key() -> str:
    """A key for a new run."""
    return uuid4().hex


class Run:
    """A run, addressed by its own key, so that it can be written to before the store knows it.

    Args:
        key: the run's key, which the store keeps as a tag.
        run_id: the store's id of it, if known.

    Raises:
        CuhsError: the key does not have the form of :func:`new_key`'s, which matters because it names a folder here.
    """

    _failure: Exception = MlflowException("not asked yet")
    _rests_until = 0.0

    def __init__(self, key: str, run_id: str | None = None) -> None:
        if not KEY_FORM.fullmatch(key):
            raise CuhsError(
                f"{quoted(key)}: refused, it is no key of a run; train the model again (dvc repro -f train)"
            )
        self.key = key
        self.stored = StoredRun(key, run_id)
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
            experiment: the experiment's name.
            name: the run's name in the UI.
            tags: tags besides those of the commit.
            params: nested parameters; MLflow gets them flat.
            description: a text for the run's page.
            data: the dataset that it uses.
            parent: the key of its parent run.
            key: the run's key from :func:`new_key`, if the caller had to write it down before; by default a new one.
        """
        run = cls(key or new_key())
        commit = git_commit()
        tags = {
            **tags,
            KEY: run.key,
            "mlflow.source.git.commit": commit.id,
            "cuhs.git_dirty": "unknown" if commit.dirty is None else str(commit.dirty).lower(),
            "cuhs.git_unknown": commit.unknown,
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
        """The run that a file of :meth:`write` names.

        Raises:
            CuhsError: the file is missing, or names no run.
        """
        about = _NAMED.read(path)
        return cls(about.key, about.run_id)

    @classmethod
    def going_on(cls, tag: str, value: str) -> "Run | None":
        """The unfinished run with a tag, for a stage whose disk was lost; none also if the store does not answer."""
        try:
            run = StoredRun.going_on(tag, value)
        except MlflowException:
            return None
        return cls(run.data.tags[KEY], run.info.run_id) if run else None

    def write(self, path: Path) -> None:
        """Name the run in a file, for the stages after this one."""
        write_file(path, json.dumps(asdict(_Named(self.key, self.id)), indent=2) + "\n")

    @property
    def id(self) -> str | None:
        """The store's id of the run; none if the store does not know the run or does not answer."""
        try:
            return None if self._waiting("create") else self.stored.id()
        except MlflowException:
            return None

    def lost(self) -> bool:
        """Whether the store answers that it does not know the run."""
        try:
            return not self._waiting("create") and self.stored.find() is None
        except MlflowException:
            return False

    def missing(self) -> str:
        """Why the store cannot show the run, and what to do; empty if it can."""
        if self._waiting("create"):
            return (
                f"the run is not sent yet; start MLflow and run the command again (it waits in {OUTBOX / self.key})"
            )
        try:
            if run := self.stored.deleted():
                return f"run {run} was deleted; bring it back with: mlflow runs restore --run-id {run}"
            if self.stored.find() is None:
                return "MLflow has no such run any more; make another one with: dvc repro -f -s evaluate"
        except MlflowException as error:
            return f"MLflow does not answer ({line(error)}); start it and run the command again"
        return ""

    def holds(self, tag: str) -> bool | None:
        """Whether the run has a tag, in the store or in a waiting entry; none if that is unknown."""
        waiting = self._outbox.pending()
        if any(tag in entry.get("tags", ()) for entry in waiting):
            return True
        if any(entry["do"] == "create" for entry in waiting):
            return False
        try:
            tags = self.stored.tags()
        except MlflowException:
            return None
        return None if tags is None else tag in tags

    def history(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs that were not logged yet; epoch ``i`` is step ``i + 1``."""
        for step in range(self._logged() + 1, len(epochs) + 1):
            values = {f"train/{key}": float(value) for key, value in epochs[step - 1].items()}
            self._put(do="epoch", step=step, metrics={**values, "epoch": float(step)}, time=_now())

    def machine(self, values: Mapping[str, float]) -> None:
        """Log how busy a machine is now, as ``system/…``; MLflow shows these metrics on their own page."""
        if self._looks is None:
            try:
                self._looks = self.stored.last_step(next(iter(values)))
            except MlflowException:
                self._looks = 0
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
        """Log a file, or all files in a folder."""
        self._put(do="artifacts", path=str(path.resolve()), folder=folder)

    def reopen(self) -> None:
        """Mark the run as running again."""
        self._put(do="reopen")

    def finish(self, failed: bool = False) -> None:
        """End the run, and try once more to send all waiting entries."""
        Run._rests_until = 0.0
        status = RunStatus.FAILED if failed else RunStatus.FINISHED
        self._put(do="finish", status=RunStatus.to_string(status), time=_now())

    def send(self) -> bool:
        """Send the waiting entries; returns whether the store took them all, and warns once if not."""
        error = self._outbox.deliver(self._send_or_drop)
        if error and not self._told:
            log.warning("MLflow does not take entries (%s); they wait in %s", line(error), OUTBOX / self.key)
        self._told = error is not None
        return error is None

    def _put(self, **entry: Any) -> None:
        try:
            self._outbox.put(entry)
        except OSError as error:  # a full disk, most likely
            log.warning("MLflow: %s of run %s is lost (%s: %s)", entry["do"], self.key, OUTBOX, error.strerror)
            return
        self.send()

    def _waiting(self, do: str) -> bool:
        return any(entry["do"] == do for entry in self._outbox.pending())

    def _logged(self) -> int:
        """The last epoch that is logged or waits to be logged."""
        steps = [entry["step"] for entry in self._outbox.pending() if entry["do"] == "epoch" and not flaw(entry)]
        try:
            return max(steps) if steps else self.stored.epochs()
        except MlflowException:
            return 0

    def _send_or_drop(self, entry: Entry) -> None:
        if time.monotonic() < Run._rests_until:
            raise Run._failure
        try:
            self.stored.send(entry, _sent)
        except (Deleted, NotYet):
            raise
        except Exception as error:  # whatever a server can raise
            refused = isinstance(error, MlflowException) and error.error_code in REFUSALS
            # A file may be gone if a stage was killed before it could send it.
            if not refused and not isinstance(error, FileNotFoundError):
                Run._failure, Run._rests_until = error, time.monotonic() + REST_S
                raise
            log.warning("MLflow refuses an entry (%s): %s of run %s is dropped", line(error), entry["do"], self.key)


def _sent(key: str) -> str | None:
    """The id of a run after its waiting entries were sent; none if the run is gone.

    Raises:
        NotYet: some of its entries still wait.
    """
    run = Run(key)
    if run.stored.find() is None and not run.send():
        if run.stored.deleted():
            return None
        raise NotYet("the run that this is a child of is not there yet")
    return run.stored.find()


def send_left() -> None:
    """Send the entries that earlier stages could not send."""
    Run._rests_until = 0.0
    for folder in sorted(OUTBOX.glob("*/")):
        if KEY_FORM.fullmatch(folder.name):
            Run(folder.name).send()
            if time.monotonic() < Run._rests_until:
                return  # the others would wait for the same server


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
