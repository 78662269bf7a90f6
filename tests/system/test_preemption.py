"""A training that is told to go, and one that loses a machine: no step that was saved is done again."""

import json
import re
import shlex
import signal
import subprocess
import sys
from contextlib import chdir
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ray.job_submission import JobStatus

from cuhs.data.shards import write_shard
from infra.local.ray_cluster import RayCluster
from pipelines.cluster.submit import STOP_S, Client
from tests.conftest import row
from tests.system.noticed_training import EPOCHS, NAME, SLOW_FILE, STEPS_FILE, train
from tests.system.project import ROOT, Felt, descendants, inherited, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]

STEPS = 16
# The epoch, counted from 0, that is broken off.
SLOW = 1
STOPPED = rf"stopped by SIGTERM; the same command goes on from epoch {SLOW + 1}, step (\d+)"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight identities of eight images: 16 batches of two identities with two images each."""
    root = tmp_path_factory.mktemp("dataset")
    rows = [row(np.random.default_rng(pid), f"{pid:04d}", k % 2, k, None) for pid in range(8) for k in range(8)]
    write_shard(root / "train" / "made-00000.parquet", rows)
    return root


class Stage:
    """The training in a folder of its own."""

    def __init__(self, folder: Path, dataset: Path) -> None:
        self.folder, self.dataset = folder, dataset

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "tests.system.noticed_training", str(self.dataset), *options]

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*options),
            cwd=self.folder,
            env=inherited() | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def slow(self, seconds: float) -> None:
        """How long each step takes from now on."""
        (self.folder / SLOW_FILE).write_text(str(seconds))

    def run(self) -> Any:
        """What it prints when nothing disturbs it."""
        process = self.start()
        try:
            out, _ = process.communicate(timeout=900)
        finally:
            kill_tree(process.pid)
        assert process.returncode == 0, out[-4000:]
        return json.loads(out.splitlines()[-1])

    def here(self) -> Any:
        """What it gives by the Ray of this process."""
        with chdir(self.folder):
            return json.loads(json.dumps(train(self.dataset)))

    def saved(self) -> list[str]:
        """Names of whole checkpoints, without what makes them unique."""
        return [
            path.parent.name.rpartition("_")[0]
            for path in sorted((self.folder / "runs" / NAME).glob("checkpoint_*/manifest.json"))
        ]

    def steps(self) -> list[tuple[int, int]]:
        """Epoch and number of each step that was done, in the order of doing."""
        lines = (self.folder / STEPS_FILE).read_text().splitlines()
        return [(int(epoch), int(step)) for epoch, step in (line.split() for line in lines)]


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    stage = Stage(tmp_path_factory.mktemp("undisturbed"), dataset)
    result = stage.here()
    assert stage.steps() == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]
    return result


@pytest.fixture
def stage(dataset: Path, tmp_path: Path) -> Stage:
    return Stage(tmp_path, dataset)


def test_sigterm_saves_in_the_middle_of_an_epoch_and_the_same_command_goes_on(
    stage: Stage, undisturbed: Any, felt: Felt
) -> None:
    stage.slow(0.5)
    process = stage.start()
    started: list[psutil.Process] = []
    try:
        wait_for(stage.saved, process)
        stage.slow(1)
        started = psutil.Process(process.pid).children(recursive=True)
        with felt("SIGTERM, until the stage has ended"):
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=300)
        _, alive = psutil.wait_procs(started, timeout=20)
    finally:
        for left in [process, *started]:
            kill_tree(left.pid)
    assert process.returncode == 143, out[-4000:]
    line = re.fullmatch(STOPPED, out.splitlines()[-1])
    assert line and 1 < int(line[1]) <= STEPS, out[-4000:]
    assert "Traceback" not in out
    assert not alive
    done = int(line[1]) - 1
    assert stage.saved() == [f"checkpoint_{SLOW - 1:04d}", f"checkpoint_{SLOW:04d}-{done:08d}"]

    stage.slow(0)
    assert stage.run() == undisturbed
    # No step was done twice, and none left out.
    assert stage.steps() == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]
    assert stage.saved() == [f"checkpoint_{EPOCHS - 2:04d}", f"checkpoint_{EPOCHS - 1:04d}"]


class Job:
    """The stage as a job on the cluster."""

    def __init__(self, cluster: RayCluster, stage: Stage, *options: str, **variables: str) -> None:
        self.client = Client(cluster.address, headers={"Authorization": f"Bearer {cluster.token}"})
        variables |= {"PYTHONPATH": str(ROOT), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}
        self.name = self.client.submit_job(
            entrypoint=f"cd {stage.folder} && exec {shlex.join(stage.command(*options))}",
            runtime_env={"env_vars": variables},
        )

    def wait(self, status: JobStatus) -> list[str]:
        """What it said, once it is over."""
        wait_for(lambda: self.client.get_job_status(self.name).is_terminal(), seconds=300)
        out, info = self.client.get_job_logs(self.name), self.client.get_job_info(self.name)
        assert info.status is status, f"{info.message}\n{out[-4000:]}"
        return out.splitlines()


def test_a_job_that_is_stopped_saves_first(cluster: RayCluster, stage: Stage, undisturbed: Any, felt: Felt) -> None:
    stage.slow(0.5)
    job = Job(cluster, stage)
    wait_for(stage.saved)
    stage.slow(1)
    with felt("a job is stopped, until it has ended"):
        job.client.stop_job(job.name)
        said = job.wait(JobStatus.STOPPED)
    line = re.fullmatch(STOPPED, said[-1])
    assert line, said
    assert stage.saved()[-1] == f"checkpoint_{SLOW:04d}-{int(line[1]) - 1:08d}"
    stage.slow(0)
    assert stage.here() == undisturbed
    assert stage.steps() == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]


def test_a_node_that_is_drained_costs_only_what_came_after_the_notice(
    losing_cluster: RayCluster, stage: Stage, undisturbed: Any, felt: Felt
) -> None:
    losing_cluster.add_worker()
    stage.slow(0.5)
    job = Job(losing_cluster, stage)
    wait_for(stage.saved)
    # Nothing but the node's end ends this epoch.
    stage.slow(2)
    going = next(node for node in losing_cluster.nodes if descendants(node.pid, "ray::RayTrainWorker"))
    with felt("a node is drained, until the checkpoint is saved"):
        going.terminate()  # as Kubernetes does with a pod that has to go
        wait_for(lambda: len(stage.saved()) == 2)
    done = int(stage.saved()[-1].removeprefix(f"checkpoint_{SLOW:04d}-"))
    wait_for(lambda: going.poll() is not None or not descendants(going.pid, "ray::RayTrainWorker"))
    stage.slow(0)
    said = job.wait(JobStatus.SUCCEEDED)
    losing_cluster.kill(going)
    assert f"a node has to go: epoch {SLOW + 1} is saved after {done} of {STEPS} steps" in said
    steps = stage.steps()
    again = [after for before, after in pairwise(steps) if after <= before]
    assert again == [(SLOW, done + 1)], steps
    assert json.loads(said[-1]) == undisturbed


def test_with_fewer_nodes_it_goes_on_and_takes_a_new_one_in(losing_cluster: RayCluster, stage: Stage) -> None:
    stage.slow(0.2)
    # Ray's own wait for a node to come back is a minute.
    job = Job(losing_cluster, stage, "--min-workers=1", RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="10")

    def goes_on() -> None:
        last = stage.saved()[-1]
        wait_for(lambda: stage.saved()[-1] > last)

    wait_for(stage.saved)
    losing_cluster.kill(losing_cluster.nodes[-1])
    goes_on()
    new = losing_cluster.add_worker()
    wait_for(lambda: descendants(new.pid, "ray::RayTrainWorker"))
    goes_on()
    job.client.stop_job(job.name)
    assert "stopped by SIGTERM" in job.wait(JobStatus.STOPPED)[-1]
    steps = stage.steps()
    again = [(before, after) for before, after in pairwise(steps) if after <= before]
    # The epoch under way begins anew; so does the one before it if its checkpoint was still being written.
    assert 1 <= len(again) <= 2 and all(after in {(epoch, 1), (epoch - 1, 1)} for (epoch, _), after in again), again
    assert len({epoch for epoch, _ in steps}) == steps[-1][0] + 1
