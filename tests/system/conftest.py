"""Servers that tests of several modules share, and how long faults were felt."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local.seaweed import Seaweed
from tests.system.project import Felt, Project
from tests.system.proxy import Proxy, running
from tests.system.stored_files import MIB, noise

buckets = (f"bucket-{number}" for number in itertools.count())


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
    """One S3 server for the session; a test that stops it starts it again."""
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The main job's, tiny and finished; test_main_job.py goes on with it, others take a twin."""
    return Project.tiny(tmp_path_factory.mktemp("job") / "project")


@pytest.fixture
def s3(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seaweed:
    """The server, named by the environment, with a bucket of the test's own as ``CUHS_STORE``, and a cache."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "CUHS_STORE", "CUHS_CACHE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    bucket = next(buckets)
    seaweed.client().create_bucket(Bucket=bucket)
    monkeypatch.setenv("CUHS_STORE", f"s3://{bucket}/cuhs")
    monkeypatch.setenv("CUHS_CACHE", str(tmp_path / "cache"))
    return seaweed


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
