"""Runs of trainings that are killed and started again."""

import json
from pathlib import Path

import pytest

from pipelines.base import params
from pipelines.base.paths import RUNS
from pipelines.tracking import stage_runs
from pipelines.tracking.mlflow_store import connect
from pipelines.tracking.stored_run import StoredRun

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def p(store: Path) -> params.Params:
    """Parameters, beside a dataset that has a summary."""
    summary = store / "data/dataset/dataset.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    about = {"version": "d1", "name": "n", "protocol": "p", "groups": {"all": {"train": {"images": 8}}}}
    summary.write_text(json.dumps(about))
    return params.load(PARAMS)


def stored(title: str) -> list[str]:
    """Keys of the runs that the store has by a name."""
    client = connect()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`mlflow.runName` = '{title}'")
    return [run.data.tags["cuhs.key"] for run in found]


def test_a_training_that_is_started_again_goes_on_in_its_run(p: params.Params) -> None:
    first = stage_runs.start_or_resume("train-1", p, "model", "d1", title="again")
    first.finish(failed=True)
    again = stage_runs.start_or_resume("train-1", p, "model", "d1", title="again")
    assert again.key == first.key and again.stored.client.get_run(again.id).info.status == "RUNNING"
    other = stage_runs.start_or_resume("train-2", p, "model", "d1", title="again")
    assert sorted(stored("again")) == sorted([first.key, other.key])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_training_that_is_killed_while_its_run_opens_has_one(
    p: params.Params, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = StoredRun._create

    def killed(run: StoredRun, entry: dict[str, object], parent_id: object) -> None:
        if moment == "after":
            create(run, entry, parent_id)
        raise KeyboardInterrupt

    name = f"killed {moment}"
    with monkeypatch.context() as patch:
        patch.setattr(StoredRun, "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            stage_runs.start_or_resume(name, p, "model", "d1", title=name)
    run = stage_runs.start_or_resume(name, p, "model", "d1", title=name)
    assert stored(name) == [run.key] == [(RUNS / name / "mlflow_run").read_text()]


def test_a_run_that_the_store_lost_is_made_anew(p: params.Params) -> None:
    lost = stage_runs.start_or_resume("train-lost", p, "model", "d1", title="lost")
    lost.stored.client.delete_run(lost.id)
    run = stage_runs.start_or_resume("train-lost", p, "model", "d1", title="lost")
    assert stored("lost") == [run.key] and run.key != lost.key


@pytest.mark.parametrize("content", [b"", b"0123", b"\xff", None])
def test_a_damaged_key_is_set_aside_and_the_training_gets_a_new_run(
    p: params.Params, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"damaged-{content!r:.9}"
    marker = Path("runs") / name / "mlflow_run"
    marker.parent.mkdir(parents=True)
    marker.mkdir() if content is None else marker.write_bytes(content)
    run = stage_runs.start_or_resume(name, p, "model", "d1", title=name)
    assert "mlflow_run: names no run; it is set aside as mlflow_run.damaged" in caplog.text
    assert marker.read_text() == run.key and marker.with_suffix(".damaged").exists()
    assert stage_runs.start_or_resume(name, p, "model", "d1", title=name).key == run.key
