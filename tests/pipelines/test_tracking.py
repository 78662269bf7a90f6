import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from cuhs.errors import CuhsError
from pipelines import tracking
from pipelines.tracking import Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One SQLite store for the module: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def test_a_run_opens_with_flat_parameters_tags_and_commit(store: Path) -> None:
    run = Run.start("exp", "cuhk03 cuhs", {"cuhs.kind": "model"}, {"train": {"lr": 0.1, "milestones": [40, 70]}})
    data = run.client.get_run(run.id).data
    assert data.params == {"train.lr": "0.1", "train.milestones": "[40, 70]"}
    assert data.tags["cuhs.kind"] == "model"
    assert data.tags["mlflow.runName"] == "cuhk03 cuhs"
    assert data.tags["cuhs.git_dirty"] in {"true", "false"}


def test_history_is_sent_once_however_often_it_is_given(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    epochs = [{"loss": 3.0}, {"loss": 2.0}]
    run.history(epochs[:1])
    run.history(epochs)
    # Another process goes on with the run after a restart.
    Run(run.id).history([*epochs, {"loss": 1.0}])
    points = run.client.get_metric_history(run.id, "train/loss")
    assert [(p.step, p.value) for p in points] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_what_a_store_refused_is_sent_after_a_later_epoch(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.start("exp", "r", {}, {})

    def refuse(*args: object, **kwargs: object) -> None:
        raise MlflowException("away")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(run.client, "log_batch", refuse)
        run.history([{"loss": 3.0}])
    assert "away" in caplog.text
    run.history([{"loss": 3.0}, {"loss": 2.0}])
    assert len(run.client.get_metric_history(run.id, "train/loss")) == 2


def test_measures_without_a_value_are_left_out(store: Path) -> None:
    run = Run.start("exp", "r", {}, {})
    run.metrics({"black/mAP": 12.5, "white/mAP": None})
    assert run.client.get_run(run.id).data.metrics == {"black/mAP": 12.5}


def test_two_runs_share_an_experiment_and_artifacts_lie_in_the_workspace(store: Path, tmp_path: Path) -> None:
    runs = [Run.start("shared", "r", {}, {}) for _ in range(2)]
    assert len({r.client.get_run(r.id).info.experiment_id for r in runs}) == 1
    (tmp_path / "a.txt").write_text("a")
    runs[0].artifacts(tmp_path / "a.txt", "folder")
    assert [p.name for p in (store / "mlartifacts").rglob("a.txt")] == ["a.txt"]


def test_a_run_of_another_store_does_not_exist(store: Path) -> None:
    assert not Run("0" * 32).exists()


def test_a_server_that_is_away_at_the_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CuhsError, match=r"MLFLOW_TRACKING_URI: http://127\.0\.0\.1:9 does not answer"):
        Run.start("exp", "r", {}, {})
    assert tracking.uri() == "http://127.0.0.1:9"
