"""``make cluster-demo``: starts everything that a cluster has on this machine, and runs the pipeline on it.

It starts an S3 server, PostgreSQL, MLflow on both, and a Ray cluster of three nodes, all on loopback, and stops them
at the end. The pipeline runs in a clone of the last commit, so that your checkout does not change.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from cuhs.machine import temporary_folder
from infra.local.mlflow_server import MlflowServer
from infra.local.postgres import Postgres
from infra.local.processes import LONGEST_PATH
from infra.local.ray_cluster import RayCluster
from infra.local.seaweed import Seaweed

BUCKET = "cuhs"
# Small enough for two cores, because the demo is about the cluster.
SIZE = (
    "synthesize.identities=60",
    "synthesize.images=600",
    "image.height=64",
    "image.width=32",
    "pretrain_hsl.epochs=2",
    "train.epochs=6",
    "compute.workers=2",
)


def main() -> None:
    """Start the servers, run the pipeline, print the addresses, stop the servers."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stay", action="store_true", help="leave it running until Ctrl-C")
    stay = parser.parse_args().stay
    above = temporary_folder(LONGEST_PATH)
    with tempfile.TemporaryDirectory(prefix="cuhs-demo-", dir=above) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user if this runs as root
        started = time.monotonic()

        def told(what: str) -> None:
            print(f"{time.monotonic() - started:5.0f} s  {what}", flush=True)

        store = stack.enter_context(Seaweed(folder / "s3"))
        store.client().create_bucket(Bucket=BUCKET)
        told(f"S3 (SeaweedFS) on {store.url}")
        database = stack.enter_context(Postgres(folder / "postgres"))
        told("PostgreSQL")
        mlflow = MlflowServer(folder / "mlflow", database.uri, f"s3://{BUCKET}/mlflow", store.environment)
        stack.enter_context(mlflow)
        told(f"MLflow on {mlflow.url}, runs in PostgreSQL, artifacts in S3")
        nodes = {**store.environment, "CUHS_CACHE": str(folder / "cache")}
        cluster = stack.enter_context(RayCluster(folder / "ray", nodes))
        told(f"Ray on {cluster.address}, a head and two workers; its dashboard asks for the token {cluster.token}")

        environment = {
            **store.environment,
            **cluster.environment,
            "CUHS_STORE": f"s3://{BUCKET}/cuhs",
            "MLFLOW_TRACKING_URI": mlflow.url,
        }
        project = folder / "project"
        subprocess.run(
            ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", str(Path.cwd()), str(project)], check=True
        )
        overrides = [part for override in SIZE for part in ("-S", override)]
        command = [sys.executable, "-m", "dvc", "exp", "run", *overrides]
        done = subprocess.run(command, cwd=project, env={**os.environ, **environment}, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        told("the pipeline ran on the cluster, and its outputs are here again")
        if stay:
            print(f"Ctrl-C stops it all. Runs are on {mlflow.url}, jobs on {cluster.address}.", flush=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    main()
