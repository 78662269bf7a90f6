"""A search of parameters as a user runs it: killed after its first trial and started again."""

import csv
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.system.project import Project, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]

SEARCH = ("dvc", "repro", "pipelines/dvc.yaml:tune")
ETAS = [0.5, 1.0, 2.0]
EPOCHS = 2
# As a trial of each is called in MLflow.
NAMES = {f"eta_1={eta:.4g}" for eta in ETAS}


class Search:
    """What a search has written so far, in the project and in its tracking store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")

    def finished(self) -> int:
        """How many trials are over, by what Ray Tune will find after a restart."""
        states = sorted(self.folder.glob("runs/tune-*/search/experiment_state-*.json"))
        return states[-1].read_text().count("TERMINATED") if states else 0

    def epochs(self, trial: Run) -> list[tuple[int, float, int]]:
        """Step, loss and time of each epoch."""
        points = self.client.get_metric_history(trial.info.run_id, "train/loss")
        return [(point.step, point.value, point.timestamp) for point in points]

    def parent(self) -> Run:
        (parent,) = self._runs("tags.`cuhs.kind` = 'tuning'")
        return parent

    def trials(self) -> dict[str, Run]:
        """By their names; fails where two have the same."""
        found = self._runs(f"tags.`mlflow.parentRunId` = '{self.parent().info.run_id}'")
        assert len({run.info.run_name for run in found}) == len(found)
        return {str(run.info.run_name): run for run in found}

    def _runs(self, where: str) -> list[Run]:
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, where))


@pytest.fixture
def laptop(project: Project, tmp_path: Path) -> Project:
    twin = project.twin(tmp_path / "project")
    twin.set(tune={"search": "grid", "epochs": EPOCHS, "space": {"train.eta_1": {"choice": ETAS}}})
    return twin


def test_a_killed_search_goes_on_and_keeps_what_it_found(laptop: Project) -> None:
    search = Search(laptop.folder)
    process = laptop.start("python", "-m", "pipelines.stages.tune")
    try:
        wait_for(search.finished, process, seconds=400)
        # The next one is under way.
        wait_for(lambda: len(search.trials()) == 2, process)
    finally:
        kill_tree(process.pid)
    before = {name: search.epochs(trial) for name, trial in search.trials().items()}
    kept = [name for name, epochs in before.items() if len(epochs) == EPOCHS]
    assert kept and len(before) == 2

    out = laptop.run(*SEARCH)
    assert "going on with tune-" in out
    trials = search.trials()
    assert set(trials) == NAMES
    for name, trial in trials.items():
        epochs = search.epochs(trial)
        assert [step for step, _, _ in epochs] == [*range(1, EPOCHS + 1)], name
        assert trial.info.status == "FINISHED"
        assert "validation/mAP" in {key.removeprefix("train/") for key in trial.data.metrics}
    for name in kept:
        assert search.epochs(trials[name]) == before[name]

    parent = search.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trials"] == len(ETAS)
    with (laptop.folder / "reports/tuning/trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {f"eta_1={float(row['train.eta_1']):.4g}": row["mlflow_run"] for row in rows} == {
        name: trial.info.run_id for name, trial in trials.items()
    }
    best = yaml.safe_load((laptop.folder / "reports/tuning/best.yaml").read_text())
    assert best == {"train.eta_1": float(max(rows, key=lambda row: float(row["mAP"]))["train.eta_1"])}
    assert parent.data.metrics["best/validation/mAP"] == pytest.approx(max(float(row["mAP"]) for row in rows))
    figures = {path.name for path in (laptop.folder / "reports/tuning").glob("*.png")}
    # The importance of parameters takes more trials than this.
    assert figures == {"parallel_coordinates.png"}
    assert figures | {"best.yaml", "trials.csv"} == {
        Path(artifact.path).name for artifact in search.client.list_artifacts(parent.info.run_id, "tuning")
    }
    # Of trials that are over nothing is left but what Ray knows of the search.
    assert not list(laptop.folder.glob("runs/tune-*/trial-*/checkpoint_*"))
    assert "Running stage" not in laptop.run(*SEARCH), "a search that has ended is not run again"
