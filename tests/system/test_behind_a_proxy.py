"""Servers on loopback where the environment names a proxy that reaches none of them, as in many companies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.mlflow_server import MlflowServer
from infra.local.ray_cluster import RayCluster
from infra.local.seaweed import Seaweed
from tests.system.project import ROOT

pytestmark = pytest.mark.system

DEAD = "http://127.0.0.1:9"
PROXIES = {
    name: DEAD for kind in ("http", "https", "all", "grpc") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())
}

START = """
import sys
from pathlib import Path
from infra.local.seaweed import Seaweed
with Seaweed(Path(sys.argv[1])) as server:
    print(server.client().list_buckets()["ResponseMetadata"]["HTTPStatusCode"])
"""

ASK = """
import asyncio, os, sys
from pathlib import Path
from pipelines.cluster.submit import _connect
from pipelines.storage.object_store import ObjectStore
from pipelines.tracking.mlflow_store import connect

Path("tree").mkdir()
Path("tree/file").write_text("content")
digest = ObjectStore.from_environment().push(Path("tree"))
connect().search_experiments()
client = _connect(os.environ["RAY_ADDRESS"])
name = client.submit_job(entrypoint="echo ran on the cluster")

async def log():
    return "".join([text async for text in client.tail_job_logs(name)])

assert "ran on the cluster" in asyncio.run(log())
print("all answered")
"""


def behind_a_proxy(code: str, folder: Path, *arguments: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**kept, **PROXIES, **variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_local_server_starts_behind_a_proxy(tmp_path: Path) -> None:
    assert behind_a_proxy(START, tmp_path, "s3").splitlines() == ["200"]


def test_loopback_servers_are_reached_behind_a_proxy(
    s3: Seaweed, mlflow_server: MlflowServer, cluster: RayCluster, tmp_path: Path
) -> None:
    variables = {**cluster.environment, "MLFLOW_TRACKING_URI": mlflow_server.url}
    assert behind_a_proxy(ASK, tmp_path, **variables).endswith("all answered\n")
