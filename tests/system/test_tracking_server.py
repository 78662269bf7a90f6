"""Training, tracking and registering against a real MLflow server that goes away, fails, hangs and is shared."""

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from mlflow.entities import Run as MlflowRun

from pipelines import tracking
from pipelines.outbox import Outbox
from pipelines.registry import DECISION, REASON, Registry
from pipelines.tracking import Run
from tests.system.gated_training import EPOCHS, stage
from tests.system.mlflow_server import MlflowServer
from tests.system.project import ROOT, Project, kill_tree, wait_for
from tests.system.proxy import Request, running

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """One Ray for all trainings; its workers find this folder's modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield
        ray.shutdown()


class Workspace:
    """A folder that a stage runs in, in this process, while a test disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gates = folder / "gates"
        self.gates.mkdir()

    def open(self, epoch: int) -> None:
        """Let an epoch and all before it run."""
        for number in range(1, epoch + 1):
            (self.gates / str(number)).touch()

    def trained(self) -> int:
        """How many epochs are over, by the last checkpoint."""
        found = sorted(path.parent.name for path in self.folder.glob("runs/*/checkpoint_*/manifest.json"))
        return int(found[-1].split("_")[1]) + 1 if found else 0

    def waiting(self) -> list[dict[str, Any]]:
        """What waits to be sent."""
        boxes = self.folder.glob("runs/outbox/*/")
        return [entry for box in boxes for entry in Outbox(box).pending()]

    def train(self, name: str, disturb: Callable[[], None]) -> list[dict[str, float]]:
        """Run the stage to its end with something going on beside it."""

        def disturbing() -> None:
            try:
                disturb()
            finally:
                self.open(EPOCHS)

        with ThreadPoolExecutor(1) as beside:
            disturbed = beside.submit(disturbing)
            history = stage(name, self.gates)
            disturbed.result(60)
        return history


@pytest.fixture
def workspace(tmp_path: Path, workers: None, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def next_stage(server: MlflowServer) -> None:
    """What every stage does first, in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", "from pipelines.tracking import send_left; send_left()"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": server.url},
        timeout=120,
        check=True,
    )


def epochs(server: MlflowServer, name: str) -> int:
    runs = search(server, name)
    return int(runs[0].data.metrics.get("epoch", 0)) if runs else 0


def search(server: MlflowServer, name: str) -> list[MlflowRun]:
    experiment = server.client.get_experiment_by_name("cuhs")
    if experiment is None:
        return []
    return list(server.client.search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{name}'"))


def assert_whole(server: MlflowServer, name: str, history: list[dict[str, float]]) -> None:
    """One run, every epoch exactly once and in order, nothing missing, nothing left."""
    (run,) = search(server, name)
    points = server.client.get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in points] == [(i + 1, epoch["loss"]) for i, epoch in enumerate(history)]
    assert len(points) == EPOCHS
    times = [point.timestamp for point in points]
    assert times == sorted(times)
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= times[-1]
    assert run.data.params["train.lr"] == "0.002" and len(run.data.params) > tracking.PARAMS_AT_ONCE / 2
    assert run.data.tags["cuhs.kind"] == "model" and run.data.tags["mlflow.note.content"] == "A number."
    assert run.data.metrics["parameters_mib"] == 0.1
    artifacts = server.client.list_artifacts(run.info.run_id, "model")
    assert [artifact.path for artifact in artifacts] == ["model/model.json"]
    assert not list(Path("runs/outbox").glob("*/"))


def test_a_server_that_is_killed_and_comes_back_gets_every_epoch_once(
    server: MlflowServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)

    def disturb() -> None:
        workspace.open(2)
        wait_for(lambda: epochs(server, "back in time") == 2, seconds=90)
        server.kill()
        workspace.open(4)
        wait_for(lambda: workspace.trained() == 4 and len(workspace.waiting()) >= 2, seconds=90)
        server.start()
        workspace.open(EPOCHS)

    assert_whole(server, "back in time", workspace.train("back in time", disturb))


def test_a_server_that_fails_then_hangs_then_dies_holds_up_no_epoch_and_loses_none(
    server: MlflowServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    # So that each of its troubles is met.
    monkeypatch.setattr(tracking, "REST_S", 0.5)
    name, over = "in trouble", threading.Event()
    failed, hung = [], []

    def fail(request: Request) -> int:
        failed.append(request)
        return 500

    def hang(request: Request) -> int:
        hung.append(request)
        over.wait(300)
        return 500

    with running(server.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)

        def disturb() -> None:
            workspace.open(2)
            wait_for(lambda: epochs(server, name) == 2, seconds=90)
            proxy.rule = fail
            workspace.open(3)
            wait_for(lambda: workspace.trained() == 3 and failed, seconds=90)
            proxy.rule = hang
            workspace.open(4)
            wait_for(lambda: workspace.trained() == 4 and hung, seconds=90)
            assert epochs(server, name) == 2
            server.kill()
            over.set()

        try:
            history = workspace.train(name, disturb)
        finally:
            over.set()
            server.start()
    waiting = workspace.waiting()
    assert {3, 4, 5, 6} <= {entry["step"] for entry in waiting if entry["do"] == "epoch"}
    assert {"artifacts", "finish"} <= {entry["do"] for entry in waiting}
    next_stage(server)
    assert_whole(server, name, history)


def test_a_server_that_failed_is_not_asked_with_every_entry(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with running(server.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        run = Run.start("cuhs", "left alone", {}, {})
        working = len(proxy.seen)
        proxy.rule = lambda request: 503
        for epoch in range(20):
            run.history([{"loss": 1.0}] * (epoch + 1))
        run.metrics({"parameters_mib": 0.1})
        assert 0 < len(proxy.seen) - working < 10
        proxy.rule = lambda request: None
        # It is asked once more at the end, however soon that comes.
        run.finish()
    (found,) = search(server, "left alone")
    assert found.info.status == "FINISHED" and found.data.metrics["epoch"] == 20


def test_answers_that_get_lost_make_nothing_twice(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text("{}")

    def lost(answer: bytes) -> bytes:
        raise ConnectionAbortedError

    def every_other(request: Request) -> Callable[[bytes], bytes] | None:
        return lost if request.before % 2 == 0 else None

    history = [{"loss": 1.0 / (epoch + 1)} for epoch in range(EPOCHS)]
    with running(server.port) as proxy:
        proxy.rule = every_other
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        params = {"train": {"lr": 0.002}, **{f"other{i}": i for i in range(tracking.PARAMS_AT_ONCE)}}
        run = Run.start("cuhs", "lost answers", {"cuhs.kind": "model"}, params, "A number.")
        for epoch in range(EPOCHS):
            run.history(history[: epoch + 1])
        # Another process, to which the store does not say what it knows.
        proxy.rule = lambda request: 500 if "/runs/get" in request.path else None
        Run(run.key).history(history)
        proxy.rule = every_other
        run.metrics({"parameters_mib": 0.1})
        run.artifacts(tmp_path / "model", "model")
        run.finish()
        created = [request for request in proxy.seen if request.path.endswith("/runs/create")]
    next_stage(server)
    assert len(created) >= 2, "no answer was lost where it matters most"
    assert_whole(server, "lost answers", history)


def test_a_file_that_was_deleted_before_it_was_sent_holds_up_nothing(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    run = Run.start("cuhs", "deleted file", {}, {})
    # As a stage leaves it that is killed here, and whose outputs DVC deletes when it runs again.
    Outbox(tracking.OUTBOX / run.key).put({"do": "artifacts", "path": str(tmp_path / "gone"), "folder": None})
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        Run(run.key).metrics({"parameters_mib": 0.1})
    next_stage(server)
    (found,) = search(server, "deleted file")
    assert found.data.metrics == {"parameters_mib": 0.1}


def test_two_trainings_at_once_are_two_runs_of_one_experiment(
    server: MlflowServer, project: Project, tmp_path: Path
) -> None:
    stages = {}
    for seed in (1, 2):
        stages[seed] = project.twin(tmp_path / str(seed))
        stages[seed].set(train={"seed": seed, "epochs": 2}, tracking={"experiment": "shared"}, variant=f"seed{seed}")
        stages[seed].env["MLFLOW_TRACKING_URI"] = server.url
    processes = {seed: twin.start("python", "-m", "pipelines.train") for seed, twin in stages.items()}
    try:
        for process in processes.values():
            out, _ = process.communicate(timeout=240)
            assert process.returncode == 0, out[-4000:]
    finally:
        for process in processes.values():
            kill_tree(process.pid)

    experiment = server.client.get_experiment_by_name("shared")
    runs = {run.data.params["train.seed"]: run for run in server.client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"1", "2"}
    for seed, trained in stages.items():
        run = runs[str(seed)]
        assert run.info.status == "FINISHED"
        assert run.info.run_id == trained.json("models/run.json")["run_id"]
        assert run.info.run_name == f"fg_synth seed{seed}"
        points = server.client.get_metric_history(run.info.run_id, "train/loss")
        assert [(p.step, p.value) for p in points] == [(i + 1, loss) for i, loss in enumerate(trained.losses())]
        assert {artifact.path for artifact in server.client.list_artifacts(run.info.run_id, "model")} == {
            "model/model.json",
            "model/model.safetensors",
        }
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == "fg_synth"
    assert stages[1].losses() != stages[2].losses()


GATED_REGISTER = """
import os, time
from pathlib import Path
from pipelines import cli, register

judge, own, other = register._judge, Path(os.environ["OWN"]), Path(os.environ["OTHER"])

def wait_for_the_other(p, champion):
    found = judge(p, champion)
    own.touch()
    while not other.exists():
        time.sleep(0.01)
    return found

register._judge = wait_for_the_other
cli.run(register.main)
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
        "from pathlib import Path; from pipelines.tracking import Run; r = Run.start('shared', 'evaluated', {}, {});"
        "r.artifacts(Path('reports/queries.csv'), 'evaluation'); r.write(Path('reports/run.json'));"
        "r.finish()",
    )
    return twin


def test_of_two_challengers_at_once_the_better_one_becomes_the_champion(
    server: MlflowServer, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"first": 0.0, "better": 0.2, "best": 0.4}
    first, better, best = (evaluated(project, tmp_path / name, server, by) for name, by in folders.items())
    first.run("python", "-m", "pipelines.register")
    gates = tmp_path / "better-judged", tmp_path / "best-judged"
    processes = []
    for twin, (own, other) in zip((better, best), (gates, gates[::-1]), strict=True):
        twin.env |= {"OWN": str(own), "OTHER": str(other)}
        processes.append(twin.start("python", "-c", GATED_REGISTER))
    try:
        for process in processes:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0, out[-4000:]
    finally:
        for process in processes:
            kill_tree(process.pid)

    numbers = {
        name: project.json("reports/registration.json")["version"]
        for name, project in {"first": first, "better": better, "best": best}.items()
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
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
