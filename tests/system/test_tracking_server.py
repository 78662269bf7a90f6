"""Training and tracking against a real MLflow server that goes away, fails, hangs and forgets to answer."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from infra.local.mlflow_server import MlflowServer
from pipelines.base import params
from pipelines.base.paths import OUTBOX
from pipelines.tracking import stored_run
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.run import Run
from tests.system.gated_training import EPOCHS, PARAMS, stage
from tests.system.project import ROOT, wait_for
from tests.system.proxy import Request, running

pytestmark = pytest.mark.system

BUSY = "system/cpu_utilization_percentage"
LR = str(params.load(PARAMS).train.lr)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


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
def workspace(tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def next_stage(server: MlflowServer) -> None:
    """What every stage does first, in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", "from pipelines.tracking.run import send_left; send_left()"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": server.url},
        timeout=120,
        check=True,
    )


def client(server: MlflowServer) -> MlflowClient:
    """One that is sure of its address, whatever the environment says."""
    return MlflowClient(server.url, server.url)


def epochs(server: MlflowServer, name: str) -> int:
    runs = search(server, name)
    return int(runs[0].data.metrics.get("epoch", 0)) if runs else 0


def search(server: MlflowServer, name: str) -> list[MlflowRun]:
    experiment = client(server).get_experiment_by_name("cuhs")
    if experiment is None:
        return []
    return list(client(server).search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{name}'"))


def assert_whole(server: MlflowServer, name: str, history: list[dict[str, float]]) -> None:
    """One run, every epoch exactly once and in order, nothing missing, nothing left."""
    (run,) = search(server, name)
    points = client(server).get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in points] == [(i + 1, epoch["loss"]) for i, epoch in enumerate(history)]
    assert len(points) == EPOCHS
    times = [point.timestamp for point in points]
    assert times == sorted(times)
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= times[-1]
    assert run.data.params["train.lr"] == LR and len(run.data.params) > stored_run.PARAMS_AT_ONCE / 2
    assert run.data.tags["cuhs.kind"] == "model" and run.data.tags["mlflow.note.content"] == "A number."
    assert run.data.metrics["parameters_mib"] == 0.1
    artifacts = client(server).list_artifacts(run.info.run_id, "model")
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
        wait_for(told_how_busy_it_is, seconds=90)
        workspace.open(EPOCHS)

    def told_how_busy_it_is() -> bool:
        waiting = [entry.get("metrics", {}) for entry in workspace.waiting()]
        return any(BUSY in metrics for metrics in (*waiting, search(server, "back in time")[0].data.metrics))

    assert_whole(server, "back in time", workspace.train("back in time", disturb))
    assert BUSY in search(server, "back in time")[0].data.metrics


@pytest.mark.long
def test_a_server_that_fails_then_hangs_then_dies_holds_up_no_epoch_and_loses_none(
    server: MlflowServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    # So that each of its troubles is met.
    monkeypatch.setattr("pipelines.tracking.run.REST_S", 0.5)
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
        values = {"train": {"lr": LR}, **{f"other{i}": i for i in range(stored_run.PARAMS_AT_ONCE)}}
        run = Run.start("cuhs", "lost answers", {"cuhs.kind": "model"}, values, "A number.")
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
    Outbox(OUTBOX / run.key).put({"do": "artifacts", "path": str(tmp_path / "gone"), "folder": None})
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        Run(run.key).metrics({"parameters_mib": 0.1})
    next_stage(server)
    (found,) = search(server, "deleted file")
    assert found.data.metrics == {"parameters_mib": 0.1}
