"""Servers that tests share, and how long faults were felt.

What is ``session`` here is used and never harmed: a test that stops a server or a node has one of its own.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from infra.local.mlflow_server import MlflowServer
from infra.local.ray_cluster import RayCluster
from infra.local.seaweed import Seaweed
from tests.system.project import PLANTED, ROOT, Felt, Project
from tests.system.proxy import Proxy, running
from tests.system.stored_files import MIB, noise

buckets = (f"bucket-{number}" for number in itertools.count())
# Ray Train's own interval, by which the figures of docs/operations.md are; also what holds up each epoch a little.
LOOK = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "2"}
# How long a node goes on after it was told to go.
DRAIN_S = 10


@pytest.fixture
def felt(record_property: Callable[[str, object], None]) -> Felt:
    """``with felt("a node is lost"):`` from a fault until all goes on; the run's summary says how long that took."""

    @contextmanager
    def measured(fault: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        record_property("felt", (fault, time.monotonic() - began))

    return measured


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """The S3 server."""
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The MLflow server."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Ray in this process, with two CPUs; its workers find this folder's modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def cluster(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """The Ray cluster: a head and two nodes with a CPU each."""
    folder = tmp_path_factory.mktemp("cluster")
    with RayCluster(folder / "ray", nodes_environment(seaweed, folder)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kept_whole(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Another such cluster, from which a test may take what it likes."""
    folder = tmp_path_factory.mktemp("losing")
    given = nodes_environment(seaweed, folder) | LOOK | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_S)}
    with RayCluster(folder / "ray", given) as cluster:
        yield cluster


@pytest.fixture
def losing_cluster(kept_whole: RayCluster) -> RayCluster:
    """A cluster to take nodes from; it is whole again for each test."""
    nodes = kept_whole.nodes
    if len(nodes) != 3 or any(node.poll() is not None for node in nodes):
        for node in [*nodes]:
            kept_whole.kill(node)
        kept_whole.start_head()
        for _ in range(2):
            kept_whole.add_worker()
    return kept_whole


def nodes_environment(seaweed: Seaweed, folder: Path) -> dict[str, str]:
    own = {"CUHS_CACHE": str(folder / "cache"), "MLFLOW_TRACKING_PASSWORD": PLANTED}
    # Jobs call `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**seaweed.environment, **own, "PATH": path}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The main job's, tiny and finished; who changes something takes a twin."""
    return Project.tiny(tmp_path_factory.mktemp("job") / "project")


@pytest.fixture
def s3(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seaweed:
    """The server, named by the environment, with a bucket of the test's own as ``CUHS_STORE``, and a cache."""
    return named(seaweed, tmp_path, monkeypatch)


@pytest.fixture
def losing_s3(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Seaweed]:
    """A server of the test's own, named likewise, which it may stop."""
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield named(server, tmp_path, monkeypatch)


def named(server: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seaweed:
    for name in [name for name in os.environ if name.startswith(("AWS_", "CUHS_STORE", "CUHS_CACHE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = next(buckets)
    server.client().create_bucket(Bucket=bucket)
    monkeypatch.setenv("CUHS_STORE", f"s3://{bucket}/cuhs")
    monkeypatch.setenv("CUHS_CACHE", str(tmp_path / "cache"))
    return server


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files in folders, an empty one, and one of three parts."""
    root = tmp_path / "tree"
    files = {"a.bin": noise(1000, 1), "b/c/ü ß.bin": noise(70_000, 2), "b/empty": b"", "large": noise(40 * MIB, 3)}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def proxy(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands between the store and its server."""
    with running(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
