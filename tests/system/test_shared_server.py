"""Several people's stages at once on one MLflow server: no run mixed with another, and one champion."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from infra.local.mlflow_server import MlflowServer
from pipelines.tracking.registry import DECISION, REASON, Registry
from tests.system.project import Project, kill_tree

pytestmark = [pytest.mark.system, pytest.mark.long]


def test_two_trainings_at_once_are_two_runs_of_one_experiment(
    mlflow_server: MlflowServer, project: Project, tmp_path: Path
) -> None:
    stages = {}
    for seed in (1, 2):
        stages[seed] = project.twin(tmp_path / str(seed))
        stages[seed].set(train={"seed": seed, "epochs": 2}, compute={"workers": 1})
        stages[seed].set(tracking={"experiment": "shared"}, variant=f"seed{seed}")
        stages[seed].env["MLFLOW_TRACKING_URI"] = mlflow_server.url
    processes = {seed: twin.start("python", "-m", "pipelines.stages.train") for seed, twin in stages.items()}
    try:
        for process in processes.values():
            out, _ = process.communicate(timeout=600)
            assert process.returncode == 0, out[-4000:]
    finally:
        for process in processes.values():
            kill_tree(process.pid)

    client = MlflowClient(mlflow_server.url)
    experiment = client.get_experiment_by_name("shared")
    runs = {run.data.params["train.seed"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"1", "2"}
    for seed, trained in stages.items():
        run = runs[str(seed)]
        assert run.info.status == "FINISHED"
        assert run.info.run_id == trained.json("models/run.json")["run_id"]
        assert run.info.run_name == f"model: fg_synth seed{seed}"
        points = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(p.step, p.value) for p in points] == [(i + 1, loss) for i, loss in enumerate(trained.losses())]
        assert {artifact.path for artifact in client.list_artifacts(run.info.run_id, "model")} == {
            "model/model.json",
            "model/model.safetensors",
        }
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == "fg_synth"
    assert stages[1].losses() != stages[2].losses()


GATED_REGISTER = """
import os, sys, time
from pathlib import Path
from pipelines.evaluation import registration
from pipelines.stages import register

judge, own, other = registration._judge, Path(os.environ["OWN"]), Path(os.environ["OTHER"])

def wait_for_the_other(p, champion):
    found = judge(p, champion)
    own.touch()
    while not other.exists():
        time.sleep(0.01)
    return found

registration._judge = wait_for_the_other
sys.exit(register.main([]))
"""


def evaluated(project: Project, folder: Path, server: MlflowServer, shift: float) -> Project:
    """A twin whose evaluation found all average precisions ``shift`` higher than the twin with none."""
    twin = project.twin(folder)
    twin.env["MLFLOW_TRACKING_URI"] = server.url
    rng = np.random.default_rng(0)
    path = folder / "reports/queries.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["ap"] = str(rng.uniform(0.2, 0.5) + shift)
    with path.open("w", newline="") as file:
        written = csv.DictWriter(file, rows[0])
        written.writeheader()
        written.writerows(rows)
    metrics = twin.json("reports/metrics.json")
    metrics["all"]["mAP"] = 100 * float(np.mean([float(row["ap"]) for row in rows if row["group"] == "all"]))
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    twin.run(
        "python",
        "-c",
        "from pathlib import Path; from pipelines.tracking.run import Run;"
        "r = Run.start('shared', 'evaluated', {}, {});"
        "r.artifacts(Path('reports/queries.csv'), 'evaluation'); r.write(Path('reports/run.json'));"
        "r.finish()",
    )
    return twin


def test_of_two_challengers_at_once_the_better_one_becomes_the_champion(
    mlflow_server: MlflowServer, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"first": 0.0, "better": 0.2, "best": 0.4}
    first, better, best = (evaluated(project, tmp_path / name, mlflow_server, by) for name, by in folders.items())
    first.run("python", "-m", "pipelines.stages.register")
    gates = tmp_path / "better-judged", tmp_path / "best-judged"
    processes = []
    for twin, (own, other) in zip((better, best), (gates, gates[::-1]), strict=True):
        twin.env |= {"OWN": str(own), "OTHER": str(other)}
        processes.append(twin.start("python", "-c", GATED_REGISTER))
    try:
        for process in processes:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0, out[-4000:]
    finally:
        for process in processes:
            kill_tree(process.pid)

    numbers = {
        name: project.json("reports/registration.json")["version"]
        for name, project in {"first": first, "better": better, "best": best}.items()
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    registry = Registry(best.json("reports/registration.json")["model"])
    assert sorted(numbers.values()) == [1, 2, 3]
    assert registry.champion().number == numbers["best"]
    tags = {name: registry.version(number).tags for name, number in numbers.items()}
    assert tags["first"][REASON] == "the first of its name"
    assert tags["best"][DECISION] == "champion"
    assert tags["best"][REASON].startswith("all/mAP +40.0 (") and "against version 1" in tags["best"][REASON]
    assert tags["better"][REASON].startswith("all/mAP +20.0 (") and "against version 1" in tags["better"][REASON]
    # Champion for as long as the better one was not promoted yet.
    overtaken = f"but version {numbers['best']}, promoted over version 1 too, has the higher all/mAP"
    assert tags["better"][DECISION] == ("challenger" if overtaken in tags["better"][REASON] else "champion")
