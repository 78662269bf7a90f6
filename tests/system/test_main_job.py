"""The main job as a user runs it, on a tiny FG-Synth: DVC, Ray Train and MLflow for real."""

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from cuhs.data.dataset import PersonImages, collate
from cuhs.export import load
from tests.system.project import EPOCHS, TINY, Felt, Project, descendants, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long]


def test_the_whole_pipeline_ends_with_metrics_of_every_group(project: Project) -> None:
    metrics = project.json("reports/metrics.json")
    assert next(iter(metrics)) == "all"
    assert {"black", "white"} <= set(metrics)
    for values in metrics.values():
        assert {"mAP", "rank1", "rank5", "rank10", "queries", "gallery"} <= set(values)
        assert values["queries"] == 0 or 0 < values["mAP"] <= 100
    assert (project.folder / "reports/report.html").stat().st_size > 10_000
    header = (project.folder / "reports/cmc.csv").read_text().splitlines()[0]
    assert header.startswith("rank,all")


def test_the_localiser_does_not_drift_in_the_main_training(project: Project) -> None:
    about = project.json("models/cuhs/model.json")["about"]
    assert about["hsl/iou_after_training"] == pytest.approx(about["hsl/iou"], abs=1e-3)


def test_one_mlflow_run_holds_training_and_evaluation(project: Project) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    run = client.get_run(project.json("models/run.json")["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == str(EPOCHS)
    assert run.data.metrics["all/mAP"] == pytest.approx(project.json("reports/metrics.json")["all"]["mAP"])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [*range(1, EPOCHS + 1)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"model", "evaluation", "reproduce"}
    assert "train/loss/triplet/in2" in run.data.metrics
    assert run.data.tags["mlflow.note.content"].startswith("cuhs on fg_synth, model: bn (gap), in (2 branches")
    assert run.data.tags["cuhs.localiser_run"]
    (used,) = run.inputs.dataset_inputs
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    assert used.dataset.digest == lock["stages"]["build_dataset"]["outs"][0]["md5"]
    assert used.tags[0].value == "training"


def test_the_first_model_is_the_champion_and_loads_without_pickle(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    registered = project.json("reports/registration.json")
    assert (registered["version"], registered["decision"], registered["champion"]) == (1, "champion", 1)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    try:
        model = mlflow.pyfunc.load_model(f"models:/{registered['model']}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    images = PersonImages(project.folder / "data/dataset", "query", 64, 32)
    served = model.predict(pd.DataFrame({"image": [images.encoded(i) for i in range(3)]}))
    network, _ = load(project.folder / "models/cuhs")
    with torch.inference_mode():
        inputs, _ = collate([images[i] for i in range(3)]).inputs(torch.device("cpu"))
        features = network.embed(inputs)
    np.testing.assert_allclose(served, features.numpy(), atol=1e-5)
    assert set(model.metadata.metadata["thresholds"]) == set(project.json("reports/thresholds.json"))


def test_status_is_clean_and_a_second_repro_runs_nothing(project: Project) -> None:
    # The search beside the pipeline has never run, and DVC says so.
    changed = [line for line in project.run("dvc", "status").splitlines() if line and not line[0].isspace()]
    assert changed == ["pipelines/dvc.yaml:tune:"]
    assert "Running stage" not in project.run("dvc", "repro")
    assert not (project.folder / "reports/tuning").exists()


@pytest.fixture(scope="module")
def twin(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One to change: others compare with the first."""
    return project.twin(tmp_path_factory.mktemp("changed") / "project")


def test_a_killed_worker_a_killed_ray_and_a_killed_stage_change_nothing_in_the_result(
    twin: Project, felt: Felt
) -> None:
    weights = twin.folder / "models/cuhs/model.safetensors"
    undisturbed = twin.losses(), weights.read_bytes()

    process = twin.start("dvc", "repro", "-f", "-s", "train")
    started: list[psutil.Process] = []
    try:
        wait_for(twin.checkpoints, process)
        workers = descendants(process.pid, "ray::RayTrainWorker")
        assert workers, "no Ray Train worker to kill"
        with felt("a training worker is killed"):
            workers[0].kill()
            last = twin.checkpoints()[-1]
            wait_for(lambda: twin.checkpoints()[-1:] > [last], process)
        with felt("Ray's own processes are killed on one machine"):
            descendants(process.pid, "/raylet ")[0].kill()
            last = twin.checkpoints()[-1]
            wait_for(lambda: twin.checkpoints()[-1:] > [last], process)
        started = psutil.Process(process.pid).children(recursive=True)
        stage, *_ = (each for each in started if each.cmdline()[1:] == ["-m", "pipelines.stages.train"])
        stage.kill()
        out, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "starting both anew" in out
        assert "Traceback" not in out
        # Ray's agents take minutes to miss their node; what trains has to end with the stage.
        _, alive = psutil.wait_procs(started, timeout=20)
        assert not [p for p in alive if "RayTrainWorker" in p.name() or "raylet" in p.name()]
    finally:
        kill_tree(process.pid)
        for left in started:
            kill_tree(left.pid)
    assert twin.checkpoints(), "the killed stage left no checkpoint to go on from"

    # Forced, because DVC would rather take the finished training from its cache.
    out = twin.run("dvc", "repro", "-f", "-s", "train")
    assert "going on with train-" in out
    assert (twin.losses(), weights.read_bytes()) == undisturbed
    assert not twin.checkpoints(), "checkpoints of a finished run are deleted"


def test_changed_epochs_run_only_training_and_evaluation(twin: Project) -> None:
    tiny = [part for override in TINY if "train.epochs" not in override for part in ("-S", override)]
    out = twin.run("dvc", "exp", "run", *tiny, "-S", "train.epochs=2")
    ran = [line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")]
    assert ran == ["train", "evaluate", "register"]
    assert len(twin.losses()) == 2
