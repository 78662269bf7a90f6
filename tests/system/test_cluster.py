"""Stages on a real cluster of three nodes, with real S3 and MLflow servers: submitted, disturbed, brought home.

Each test has a laptop of its own: a copy of the project with its data and localiser, but nothing trained.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.job_submission import JobStatus

from infra.local.mlflow_server import MlflowServer
from infra.local.ray_cluster import RayCluster
from infra.local.seaweed import Seaweed
from pipelines.cluster.submit import Client
from pipelines.storage.object_store import ObjectStore
from tests.system.project import Felt, Project, descendants, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long]

# Never to be seen anywhere but in the environment of processes.
PLANTED = "planted-0aa3c6f1"
TRAIN = ("python", "-m", "pipelines.stages.train")


@pytest.fixture(scope="module")
def mlflow(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    seaweed.client().create_bucket(Bucket="cluster")
    folder = tmp_path_factory.mktemp("cluster")
    nodes = {**seaweed.environment, "CUHS_CACHE": str(folder / "cache"), "MLFLOW_TRACKING_PASSWORD": PLANTED}
    with RayCluster(folder / "ray", nodes) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: RayCluster) -> Client:
    # Ray reads its variables once a process, which may have asked before.
    return Client(cluster.address, headers={"Authorization": f"Bearer {cluster.token}"})


class Laptop(Project):
    """A project whose stages run on the cluster."""

    def __init__(self, folder: Path, seaweed: Seaweed, mlflow: MlflowServer, cluster: RayCluster) -> None:
        super().__init__(folder)
        self.env |= {**seaweed.environment, **cluster.environment, "MLFLOW_TRACKING_URI": mlflow.url}
        # A prefix of its own: what one test stored is news to the others.
        self.env |= {"CUHS_STORE": f"s3://cluster/{folder.parent.name}", "CUHS_CACHE": str(folder.parent / "cache")}
        self.env |= {"MLFLOW_TRACKING_PASSWORD": PLANTED}
        self.mlflow, self.servers = mlflow, (seaweed, mlflow, cluster)

    def stored(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Checkpoints that lie in the object store, by the epoch of the last; -1 without any."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, self.env[name])
        store = ObjectStore(self.env["CUHS_STORE"]).within("runs")
        trainings = [name for name in store.children() if name.startswith("train-")]
        if not trainings:
            return -1
        store = store.within(trainings[0])
        whole = [name for name in store.children() if store.within(name).trees()]
        return int(whole[-1].split("_")[1]) if whole else -1

    def tracked(self) -> Run:
        """The model's run in MLflow."""
        return MlflowClient(self.mlflow.url).get_run(self.json("models/run.json")["run_id"])

    def tracked_epochs(self) -> list[int]:
        """The epochs that MLflow has, each as often as it has it."""
        points = MlflowClient(self.mlflow.url).get_metric_history(self.tracked().info.run_id, "train/loss")
        return [point.step for point in points]

    def end(self, process: subprocess.Popen[str]) -> str:
        """What it said, once it succeeded."""
        out, _ = process.communicate(timeout=900)
        assert process.returncode == 0, out[-4000:]
        return out


def jobs_of(said: str) -> set[str]:
    """The jobs that a command tells of."""
    return set(re.findall(r"cuhs-train-[0-9a-f]+-\d+", said))


@pytest.fixture
def laptop(
    trained_here: Project, seaweed: Seaweed, mlflow: MlflowServer, cluster: RayCluster, tmp_path: Path
) -> Laptop:
    """One with the localiser of the training that it is compared with."""
    return Laptop(trained_here.twin(tmp_path / "laptop").folder, seaweed, mlflow, cluster)


@pytest.fixture(scope="module")
def trained_here(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same training by two workers of this machine."""
    twin = project.twin(tmp_path_factory.mktemp("here") / "project")
    twin.set(train={"epochs": 8}, compute={"workers": 2})
    twin.run("dvc", "repro", "train")
    return twin


@pytest.fixture
def undisturbed(trained_here: Project) -> list[float]:
    return trained_here.losses()


def test_two_nodes_train_as_two_workers_here_do_and_everything_comes_home(
    laptop: Laptop, undisturbed: list[float], client: Client
) -> None:
    # Forced, because DVC has the outputs already; what evaluates is new to it then.
    out = laptop.run("dvc", "repro", "--force", "--single-item", "train") + laptop.run("dvc", "repro", "evaluate")
    assert "runs as cuhs-evaluate-" in out
    assert out.count("runs as cuhs-train-") == 1 and "epoch   8/8" in out
    assert laptop.losses() == pytest.approx(undisturbed, rel=1e-4)
    assert laptop.json("reports/metrics.json")["all"]["queries"] > 0
    found = laptop.tracked()
    assert found.info.status == "FINISHED"
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=laptop.folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found.data.tags["mlflow.source.git.commit"] == commit
    assert laptop.tracked_epochs() == [*range(1, 9)]
    assert laptop.stored(pytest.MonkeyPatch()) == -1, "checkpoints of a finished training are deleted"
    assert "Running stage" not in laptop.run("dvc", "repro", "evaluate")


def test_no_secret_is_seen_on_the_cluster_or_in_mlflow(laptop: Laptop, client: Client, cluster: RayCluster) -> None:
    laptop.set(train={"epochs": 2})
    laptop.run(*TRAIN)
    secrets = (PLANTED, laptop.env["AWS_SECRET_ACCESS_KEY"], cluster.token)
    shown = "".join(
        f"{job}{client.get_job_logs(job.submission_id)}" for job in client.list_jobs() if job.submission_id
    )
    assert "cuhs-train-" in shown
    for secret in secrets:
        assert secret not in shown
        for path in [*laptop.mlflow.folder.rglob("*"), *laptop.folder.rglob("*.json"), *cluster.folder.rglob("*")]:
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


def test_a_lost_node_and_a_killed_driver_change_nothing_in_the_result(
    laptop: Laptop, undisturbed: list[float], cluster: RayCluster, monkeypatch: pytest.MonkeyPatch, felt: Felt
) -> None:
    process = laptop.start(*TRAIN)
    try:
        wait_for(lambda: laptop.stored(monkeypatch) >= 1, process)
        with felt("a worker node is lost and another one comes"):
            cluster.kill(cluster.nodes[-1])
            last = laptop.stored(monkeypatch)
            cluster.add_worker()
            wait_for(lambda: laptop.stored(monkeypatch) > last, process)
        wait_for(lambda: laptop.stored(monkeypatch) >= 3, process)
        driver = next(
            p
            for p in psutil.process_iter(["cmdline"])
            if (p.info["cmdline"] or [])[1:3] == ["-m", "pipelines.cluster.job"]
        )
        with felt("a job's driver is killed"):
            driver.kill()
            last = laptop.stored(monkeypatch)
            wait_for(lambda: laptop.stored(monkeypatch) > last, process)
        out = laptop.end(process)
    finally:
        kill_tree(process.pid)
    assert "its machines were lost; it is submitted again" in out
    assert laptop.losses() == pytest.approx(undisturbed, rel=1e-4)
    assert laptop.tracked_epochs() == [*range(1, 9)]


def test_a_lost_head_is_waited_for_and_the_job_submitted_again(
    laptop: Laptop, undisturbed: list[float], cluster: RayCluster, monkeypatch: pytest.MonkeyPatch, felt: Felt
) -> None:
    process = laptop.start(*TRAIN)
    try:
        wait_for(lambda: laptop.stored(monkeypatch) >= 1, process)
        with felt("all of a cluster is lost and comes back"):
            for node in [*cluster.nodes]:
                cluster.kill(node)
            last = laptop.stored(monkeypatch)
            cluster.start_head()
            for _ in range(2):
                cluster.add_worker()
            wait_for(lambda: laptop.stored(monkeypatch) > last, process)
        out = laptop.end(process)
    finally:
        kill_tree(process.pid)
    assert "the connection is lost" in out and "it is submitted again" in out
    assert laptop.losses() == pytest.approx(undisturbed, rel=1e-4)


def test_two_people_who_want_the_same_share_one_job(
    laptop: Laptop, project: Project, client: Client, tmp_path: Path
) -> None:
    laptop.set(train={"epochs": 3})
    other = Laptop(laptop.twin(tmp_path / "other").folder, *laptop.servers)
    other.env = dict(laptop.env)
    said: list[str] = []
    threads = [threading.Thread(target=lambda side=side: said.append(side.run(*TRAIN))) for side in (laptop, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(900)
    assert len(said) == 2
    assert len({name for out in said for name in jobs_of(out)}) == 1
    assert laptop.losses() == other.losses()


def test_a_laptop_that_is_closed_finds_its_job_again(
    laptop: Laptop, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = laptop.start(*TRAIN)
    wait_for(lambda: laptop.stored(monkeypatch) >= 0, process)
    kill_tree(process.pid)
    out = laptop.run(*TRAIN)
    assert "found cuhs-train-" in out
    assert len(laptop.losses()) == 8
    (name,) = jobs_of(out)
    assert client.get_job_status(name) is JobStatus.SUCCEEDED


def test_with_fewer_nodes_it_goes_on_and_takes_a_new_one_in_until_ctrl_c_stops_the_job(
    laptop: Laptop, cluster: RayCluster, client: Client, monkeypatch: pytest.MonkeyPatch, felt: Felt
) -> None:
    laptop.set(train={"epochs": 200}, compute={"workers": 2, "min_workers": 1})
    process = laptop.start(*TRAIN)
    try:
        wait_for(lambda: laptop.stored(monkeypatch) >= 1, process)
        with felt("a worker node is lost and none comes"):
            cluster.kill(cluster.nodes[-1])
            alone = laptop.stored(monkeypatch)
            wait_for(lambda: laptop.stored(monkeypatch) > alone, process)
        with felt("a new node is taken in"):
            new = cluster.add_worker()
            wait_for(lambda: descendants(new.pid, "ray::RayTrainWorker"), process)
            without = laptop.stored(monkeypatch)
            wait_for(lambda: laptop.stored(monkeypatch) > without, process)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    finally:
        kill_tree(process.pid)
    assert process.returncode == 130, out[-2000:]
    epochs = [int(epoch) for epoch in re.findall(r"epoch +(\d+)/200", out)]
    # What a worker said as it was killed may be missing.
    assert epochs == sorted(epochs), "no epoch that was saved is done again"
    (name,) = jobs_of(out)
    assert client.get_job_status(name) is JobStatus.STOPPED
