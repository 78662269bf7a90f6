"""Stages on a real cluster of three nodes, with real S3 and MLflow servers: submitted, disturbed, brought home.

Each test has a laptop of its own: a copy of the project with its data and localiser, but nothing trained.
"""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.job_submission import JobStatus

from infra.local.mlflow_server import MlflowServer
from infra.local.ray_cluster import RayCluster
from infra.local.seaweed import Seaweed
from pipelines.cluster.submit import Client
from pipelines.storage.object_store import ObjectStore
from tests.system.project import EPOCHS, PLANTED, Felt, Project, descendants, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long]

TRAIN = ("python", "-m", "pipelines.stages.train")


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


@pytest.fixture(scope="session")
def bucket(seaweed: Seaweed) -> None:
    seaweed.client().create_bucket(Bucket="cluster")


@pytest.fixture
def laptop(
    project: Project, seaweed: Seaweed, mlflow_server: MlflowServer, cluster: RayCluster, bucket: None, tmp_path: Path
) -> Laptop:
    return Laptop(project.twin(tmp_path / "laptop").folder, seaweed, mlflow_server, cluster)


@pytest.fixture(scope="module")
def came_home(
    project: Project,
    seaweed: Seaweed,
    mlflow_server: MlflowServer,
    cluster: RayCluster,
    bucket: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Laptop, str]:
    """A laptop that trained and evaluated on the cluster, and what it said."""
    folder = project.twin(tmp_path_factory.mktemp("home") / "laptop").folder
    laptop = Laptop(folder, seaweed, mlflow_server, cluster)
    # Forced, because DVC has the outputs already; what evaluates is new to it then.
    said = laptop.run("dvc", "repro", "--force", "--single-item", "train") + laptop.run("dvc", "repro", "evaluate")
    return laptop, said


def test_two_nodes_train_as_two_workers_here_do_and_everything_comes_home(
    came_home: tuple[Laptop, str], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, said = came_home
    assert "runs as cuhs-evaluate-" in said
    assert said.count("runs as cuhs-train-") == 1 and f"epoch  {EPOCHS}/{EPOCHS}" in said
    assert laptop.losses() == pytest.approx(project.losses(), rel=1e-4)
    assert laptop.json("reports/metrics.json")["all"]["queries"] > 0
    found = laptop.tracked()
    assert found.info.status == "FINISHED"
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=laptop.folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found.data.tags["mlflow.source.git.commit"] == commit
    assert laptop.tracked_epochs() == [*range(1, EPOCHS + 1)]
    assert laptop.stored(monkeypatch) == -1, "checkpoints of a finished training are deleted"
    assert "Running stage" not in laptop.run("dvc", "repro", "evaluate")


def test_no_secret_is_seen_on_the_cluster_or_in_mlflow(
    came_home: tuple[Laptop, str], client: Client, cluster: RayCluster
) -> None:
    laptop, said = came_home
    secrets = (PLANTED, laptop.env["AWS_SECRET_ACCESS_KEY"], cluster.token)
    shown = said + "".join(
        f"{job}{client.get_job_logs(job.submission_id)}" for job in client.list_jobs() if job.submission_id
    )
    assert "cuhs-train-" in shown and "cuhs-evaluate-" in shown
    for secret in secrets:
        assert secret not in shown
        for path in [*laptop.mlflow.folder.rglob("*"), *laptop.folder.rglob("*.json"), *cluster.folder.rglob("*")]:
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


def test_two_people_who_want_the_same_share_one_job(laptop: Laptop, tmp_path: Path) -> None:
    laptop.set(train={"epochs": 2})
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
    assert len(laptop.losses()) == 2 and laptop.losses() == other.losses()


def test_a_laptop_that_is_closed_finds_its_job_again_and_ctrl_c_stops_it(
    laptop: Laptop, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.set(train={"epochs": 1000})
    process = laptop.start(*TRAIN)
    try:
        wait_for(lambda: laptop.stored(monkeypatch) >= 0, process)
        process.terminate()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 143, said[-4000:]
        assert re.search(r"stopped following cuhs-train-\S+ by SIGTERM; it goes on", said)
        process = laptop.start(*TRAIN)
        assert process.stdout
        said = ""
        while "/1000" not in said and process.poll() is None:
            said += process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        said += process.communicate(timeout=300)[0]
    finally:
        kill_tree(process.pid)
    assert process.returncode == 130, said[-4000:]
    assert "found cuhs-train-" in said
    (name,) = jobs_of(said)
    assert client.get_job_status(name) is JobStatus.STOPPED


def test_a_lost_node_a_killed_driver_and_a_lost_cluster_change_nothing_in_the_result(
    project: Project,
    seaweed: Seaweed,
    mlflow_server: MlflowServer,
    losing_cluster: RayCluster,
    bucket: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    felt: Felt,
) -> None:
    cluster = losing_cluster
    laptop = Laptop(project.twin(tmp_path / "laptop").folder, seaweed, mlflow_server, cluster)
    process = laptop.start(*TRAIN)

    def goes_on() -> None:
        last = laptop.stored(monkeypatch)
        wait_for(lambda: laptop.stored(monkeypatch) > last, process)

    try:
        wait_for(lambda: laptop.stored(monkeypatch) >= 0, process)
        with felt("a worker node is lost and another one comes"):
            cluster.kill(cluster.nodes[-1])
            cluster.add_worker()
            goes_on()
        started = descendants(cluster.nodes[0].pid, "pipelines.cluster.job")
        (driver,) = (process for process in started if process.cmdline()[1:3] == ["-m", "pipelines.cluster.job"])
        with felt("a job's driver is killed"):
            driver.kill()
            goes_on()
        with felt("all of a cluster is lost and comes back"):
            for node in [*cluster.nodes]:
                cluster.kill(node)
            cluster.start_head()
            for _ in range(2):
                cluster.add_worker()
            goes_on()
        out = laptop.end(process)
    finally:
        kill_tree(process.pid)
    assert out.count("its machines were lost; it is submitted again") == 2
    assert "the connection is lost" in out
    assert laptop.losses() == pytest.approx(project.losses(), rel=1e-4)
    assert laptop.tracked_epochs() == [*range(1, EPOCHS + 1)]
