import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlDataset
from sqlalchemy.orm import Session

from cuhs.errors import CuhsError
from pipelines.base.paths import OUTBOX
from pipelines.tracking import mlflow_store
from pipelines.tracking.mlflow_store import connect
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.run import DataUsed, Run, new_key, send_left

# Stands for a password.
WORD = "never-to-be-seen"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No server listens at the address while the patch holds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        yield patch


def stored(run: Run):
    return run.stored.client.get_run(run.id)


@pytest.mark.parametrize("key", ["..", "../..", "/tmp", "", "a", "../" + "0" * 32, "F" * 32])
def test_a_key_that_would_lead_out_of_the_outbox_is_refused(key: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"key": key, "run_id": None}))
    for ask in (lambda: Run(key), lambda: Run.read(tmp_path / "run.json")):
        with pytest.raises(CuhsError, match=r"refused, it is no key of a run"):
            ask()


def test_a_run_opens_with_flat_parameters_tags_data_and_commit(store: Path) -> None:
    data = DataUsed("cuhk03", "0" * 32 + ".dir", "data/dataset", {"black": {"train": 3}}, "training")
    params = {"train": {"lr": 0.1, "milestones": [40, 70]}}
    run = Run.start("exp", "cuhk03 cuhs", {"cuhs.kind": "model"}, params, "What it is.", data)
    found = stored(run)
    assert found.data.params == {"train.lr": "0.1", "train.milestones": "[40, 70]"}
    assert found.data.tags["cuhs.kind"] == "model"
    assert found.data.tags["mlflow.runName"] == "cuhk03 cuhs"
    assert found.data.tags["mlflow.note.content"] == "What it is."
    # The store lies outside of any repository.
    assert found.data.tags["cuhs.git_dirty"] == "unknown"
    assert "not a git repository" in found.data.tags["cuhs.git_unknown"]
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("cuhk03", "0" * 32 + ".dir")
    assert (used.tags[0].key, used.tags[0].value) == ("mlflow.data.context", "training")


def test_more_parameters_than_mlflow_takes_at_once(store: Path) -> None:
    run = Run.start("exp", "r", {}, {f"p{i}": i for i in range(250)})
    assert len(stored(run).data.params) == 250


def test_history_is_sent_once_however_often_it_is_given(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    epochs = [{"loss": 3.0}, {"loss": 2.0}]
    run.history(epochs[:1])
    run.history(epochs)
    # Another process goes on with the run after a restart.
    Run(run.key).history([*epochs, {"loss": 1.0}])
    points = run.stored.client.get_metric_history(run.id, "train/loss")
    assert [(p.step, p.value) for p in points] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_an_entry_that_comes_twice_is_one_point(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    entries = [
        {"do": "epoch", "step": 1, "metrics": {"train/loss": 3.0, "epoch": 1.0}, "time": 1000},
        {"do": "metrics", "step": 0, "metrics": {"all/mAP": 3.0}, "time": 1000},
    ]
    for entry in entries * 2:
        run.stored.send(entry, lambda key: None)
    assert len(run.stored.client.get_metric_history(run.id, "train/loss")) == 1
    assert len(run.stored.client.get_metric_history(run.id, "all/mAP")) == 1


def test_looks_at_the_machine_are_counted_on_across_processes(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    run.machine({"system/cpu": 10.0})
    run.machine({"system/cpu": 20.0})
    Run(run.key).machine({"system/cpu": 30.0})
    points = run.stored.client.get_metric_history(run.id, "system/cpu")
    assert [(p.step, p.value) for p in points] == [(1, 10.0), (2, 20.0), (3, 30.0)]


def test_a_store_that_is_away_all_along_gets_everything_later(
    store: Path, away: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = Run.start("later", "r", {"cuhs.kind": "model"}, {"lr": 0.1})
        child = Run.start("later", "child", {}, {}, parent=run.key)
    assert "MLflow does not take entries" in caplog.text and "they wait in runs/outbox" in caplog.text
    file = store / "metrics.json"
    file.write_text("{}")
    run.history([{"loss": 3.0}, {"loss": 2.0}])
    run.artifacts(file, "evaluation")
    file.unlink()
    run.tags({"cuhs.evaluated_model": "abc"})
    run.finish()
    assert run.id is None and not run.lost()
    assert run.holds("cuhs.evaluated_model") is True and run.holds("cuhs.other") is False
    run.write(store / "run.json")

    away.undo()
    send_left()
    found = Run.read(store / "run.json")
    data = stored(found)
    assert (data.info.status, data.data.params["lr"], data.data.metrics["train/loss"]) == ("FINISHED", "0.1", 2.0)
    assert [a.path for a in found.stored.client.list_artifacts(found.id, "evaluation")] == ["evaluation/metrics.json"]
    assert stored(Run(child.key)).data.tags["mlflow.parentRunId"] == found.id
    assert not list((store / "runs/outbox").glob("*/"))


def test_what_a_store_refuses_for_good_holds_up_nothing(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.start("exp", "r", {}, {})
    with caplog.at_level(logging.WARNING):
        run.metrics({"no:such:name?": 1.0})
    assert "MLflow refuses an entry" in caplog.text
    run.metrics({"all/mAP": 1.0})
    assert stored(run).data.metrics == {"all/mAP": 1.0}


def test_measures_without_a_value_are_left_out(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    run.metrics({"black/mAP": 12.5, "white/mAP": None})
    assert stored(run).data.metrics == {"black/mAP": 12.5}


def test_two_runs_share_an_experiment_and_artifacts_lie_in_the_workspace(store: Path, tmp_path: Path) -> None:
    runs = [Run.start("shared", "r", {}, {}) for _ in range(2)]
    assert len({stored(r).info.experiment_id for r in runs}) == 1
    (tmp_path / "a.txt").write_text("a")
    runs[0].artifacts(tmp_path / "a.txt", "folder")
    assert [p.name for p in (store / "mlartifacts").rglob("a.txt")] == ["a.txt"]


def test_two_runs_that_are_the_first_to_use_the_same_data_both_name_them(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataUsed("cuhk03", "0" * 32, "data/dataset", {}, "training")
    begun: list[Run] = []
    insert = Session.add_all

    def after_another(session: Session, rows: Iterable[object]) -> None:
        """The other run comes after this one's request has looked whether the dataset is there."""
        rows = list(rows)
        if not begun and any(isinstance(row, SqlDataset) for row in rows):
            other = Run(new_key())
            begun.append(other)
            Run.start("exp", "other", {}, {}, "", data, key=other.key)
        insert(session, rows)

    Run.start("exp", "makes the experiment", {}, {})
    monkeypatch.setattr(Session, "add_all", after_another)
    run = Run.start("exp", "run", {}, {}, "", data)
    for each in (run, begun[0]):
        (used,) = stored(each).inputs.dataset_inputs
        assert used.dataset.digest == "0" * 32


def test_a_run_of_another_store_is_lost(store: Path) -> None:
    assert Run("0" * 32).lost()
    assert Run("0" * 32, "1" * 32).lost()
    assert Run("0" * 32).holds("tag") is None


def test_a_deleted_run_is_lost(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    run.stored.client.delete_run(run.id)
    assert Run(run.key).lost()


def test_a_run_that_may_be_there_is_not_lost(store: Path, away: pytest.MonkeyPatch) -> None:
    assert not Run("0" * 32, "1" * 32).lost()
    assert Run("0" * 32, "1" * 32).holds("tag") is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("htp://server", "htp://server cannot be opened"),
        # Its driver is missing here.
        (f"mysql+pymysql://me:{WORD}@127.0.0.1/mlflow", "mysql+pymysql://me:***@127.0.0.1/mlflow cannot be opened"),
        ("sqlite:////proc/nowhere/mlflow.db", "cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_opened_stops_no_stage_and_is_one_line_for_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Run, "_rests_until", 0.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run = Run.start("exp", "waits", {}, {"a": 1})
    run.metrics({"all/mAP": 3.0})
    run.finish()
    assert run.id is None and not run.lost() and len(list(tmp_path.glob("runs/outbox/*/*.json"))) == 3
    assert "they wait in" in caplog.text and WORD not in caplog.text
    with pytest.raises(CuhsError, match="MLFLOW_TRACKING_URI: ") as failed:
        connect()
    assert said in str(failed.value) and WORD not in str(failed.value) and "\n" not in str(failed.value)


def test_a_locked_database_stops_no_stage_and_gets_its_entries_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(Run, "_rests_until", 0.0)
    # Nobody waits for the lock here; SQLite would, for five seconds.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?timeout=0")
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as other:
        other.execute("CREATE TABLE held (a)")
        other.execute("BEGIN EXCLUSIVE")
        run = Run.start("exp", "locked", {}, {"a": 1})
        run.finish()
        assert "they wait in" in caplog.text and list(tmp_path.glob("runs/outbox/*/*.json"))
        other.execute("ROLLBACK")
    send_left()
    assert stored(Run(run.key)).info.status == "FINISHED"
    assert not list(tmp_path.glob("runs/outbox/*/*.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run.json: missing; train and evaluate the model first"),
        ("{}", "not the name of a run"),
        ("[", "not the name of a run"),
    ],
)
def test_a_file_that_names_no_run_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CuhsError, match=message):
        Run.read(path)


def test_what_cannot_be_done_without_a_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    error = mlflow_store.does_not_answer(MlflowException("connection refused\nmore"))
    assert str(error) == (
        "MLFLOW_TRACKING_URI: http://127.0.0.1:9 does not answer (connection refused); start it or unset it"
    )


def test_a_link_to_the_data_that_is_refused_costs_nothing_else(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.start(
        "exp", "long digest", {}, {"a": 1}, data=DataUsed("made", "0" * 64, "data/dataset", {}, "training")
    )
    run.metrics({"all/mAP": 3.0})
    run.finish()
    found = stored(run)
    assert (found.data.params, found.data.metrics) == ({"a": "1"}, {"all/mAP": 3.0})
    assert found.inputs.dataset_inputs == [] and found.info.status == "FINISHED"
    assert "refuses the link to the data" in caplog.text and "dropped" not in caplog.text


def test_a_run_that_was_deleted_keeps_its_entries_until_it_is_restored_and_holds_up_no_other(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.start("exp", "deleted", {}, {})
    run_id, client = run.id, run.stored.client
    client.delete_run(run_id)
    run.metrics({"all/mAP": 1.0})
    assert f"mlflow runs restore --run-id {run_id}" in caplog.text and "dropped" not in caplog.text
    assert run.missing() == f"run {run_id} was deleted; bring it back with: mlflow runs restore --run-id {run_id}"
    other = Run.start("exp", "other", {}, {})
    other.finish()
    assert stored(other).info.status == "FINISHED"
    client.restore_run(run_id)
    send_left()
    assert stored(run).data.metrics == {"all/mAP": 1.0} and run.missing() == ""


def test_a_child_of_a_deleted_run_stands_alone(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = Run.start("exp", "parent", {}, {})
    assert parent.id
    parent.stored.client.delete_run(parent.id)
    child = Run.start("exp", "child", {}, {}, parent=parent.key)
    assert "mlflow.parentRunId" not in stored(child).data.tags
    assert "the run above 'child' is gone" in caplog.text


def test_a_deleted_experiment_s_entries_wait_and_no_other_s(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Run.start("to delete", "first", {}, {})
    client = first.stored.client
    experiment = stored(first).info.experiment_id
    client.delete_experiment(experiment)
    second = Run.start("to delete", "second", {}, {"a": 1})
    assert f"mlflow experiments restore --experiment-id {experiment}" in caplog.text and "dropped" not in caplog.text
    other = Run.start("exp", "other", {}, {})
    assert other.id
    client.restore_experiment(experiment)
    send_left()
    assert stored(second).data.params == {"a": "1"}


def test_a_run_that_is_gone_says_how_to_make_another_one(store: Path) -> None:
    assert "dvc repro -f -s evaluate" in Run("0" * 32, "1" * 32).missing()


def test_a_run_that_was_not_sent_says_so(away: pytest.MonkeyPatch, tmp_path: Path) -> None:
    away.chdir(tmp_path)
    away.setattr(Run, "_rests_until", 0.0)
    assert "is not sent yet; start MLflow" in Run.start("exp", "r", {}, {}).missing()


def test_a_checkout_that_was_moved_or_copied_writes_into_its_own_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "old checkout", tmp_path / "a new_one"
    old.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])

    def track(folder: Path, code: str) -> str:
        """MLflow remembers places, so each checkout has a process of its own."""
        lines = f"from pathlib import Path\nfrom pipelines.tracking.run import Run\nKEY = '{'0' * 32}'\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", lines], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (old / "a.txt").write_text("a")
    shown = "print([item.path for item in run.stored.client.list_artifacts(run.id)])"
    track(old, "run = Run.start('exp', 'r', {}, {}, key=KEY); run.artifacts(Path('a.txt'), 'before')")
    shutil.copytree(old, new)
    assert track(new, f"run = Run(KEY); run.artifacts(Path('a.txt'), 'after'); {shown}") == "['after', 'before']\n"
    track(new, "run = Run.start('exp', 'r', {}, {}); run.artifacts(Path('a.txt'), 'later')")
    assert len(list(new.glob("mlartifacts/*/artifacts/*/a.txt"))) == 3
    # The one that it is a copy of stays as it was.
    assert track(old, f"run = Run(KEY); {shown}") == "['before']\n"


@pytest.mark.parametrize(
    "entry",
    [
        *(
            {"do": "epoch"},
            {"do": "epoch", "step": "one", "metrics": {}, "time": 1},
            {"do": "create"},
            {"do": "rm -r"},
        ),
        *({"do": "metrics", "metrics": [1], "step": 1, "time": 1}, {"do": "artifacts"}, {"do": "tags", "tags": None}),
    ],
)
def test_an_entry_that_can_never_be_sent_is_named_and_those_after_it_are_sent(
    store: Path, entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.start("exp", "flawed", {}, {})
    Outbox(OUTBOX / run.key).put(entry)
    run.history([{"loss": 1.0}])
    run.finish()
    assert f"{entry['do']} of run {run.key} is dropped" in caplog.text
    assert stored(run).info.status == "FINISHED" and stored(run).data.metrics["train/loss"] == 1.0


def test_an_outbox_that_cannot_be_written_stops_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(outbox: Outbox, entry: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    run = Run.start("exp", "full", {}, {})
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", full)
        run.metrics({"all/mAP": 50.0})
    assert f"metrics of run {run.key} is lost (runs/outbox: No space left on device)" in caplog.text
    run.finish()
    assert stored(run).info.status == "FINISHED"
