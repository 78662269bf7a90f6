"""A real Ray cluster of several nodes on this machine: a head that drives jobs, and workers that train.

Jobs, dashboard and nodes have loopback addresses and their own ports. They answer only to those who have the token,
which is made anew each time. (Ray's internal ports listen on all addresses, but ask for the token too.) ::

    with RayCluster(Path("/tmp/ray-demo"), environment=server.environment) as cluster:
        os.environ.update(cluster.environment)
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cuhs.machine import temporary_folder
from infra.local.processes import LONGEST_PATH, kill_tree
from infra.local.seaweed import free_ports

START_S = 120.0
# Each node has its own loopback address. Not 127.0.0.1, which Ray replaces with the machine's outer address.
HEAD = "127.0.0.2"
OBJECT_STORE_BYTES = 200 * 2**20
# Outside the range of `free_ports`, because Ray refuses servers' ports in this range.
WORKER_PORTS = (31000, 32700)


class RayCluster:
    """Runs while its ``with`` block does; afterwards all its processes are gone.

    Args:
        folder: for logs.
        environment: variables for all nodes, such as the credentials of an object store.
        workers: the number of worker nodes, each with one CPU.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], workers: int = 2) -> None:
        self.folder = folder.resolve()
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._workers = workers
        self._given = dict(environment)
        # The dashboard asks a browser for it.
        self.token = secrets.token_hex(16)
        self._gcs, self._dashboard, self._client = free_ports(3)
        # Not in `folder`, because a socket's path may have at most 107 characters.
        self._temporary = Path(tempfile.mkdtemp(prefix="ray-", dir=temporary_folder(LONGEST_PATH)))
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """The address of the job server, for ``RAY_ADDRESS``, and of the dashboard."""
        return f"http://127.0.0.1:{self._dashboard}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client finds the cluster."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def __enter__(self) -> Self:
        try:
            self.start_head()
            for _ in range(self._workers):
                self.add_worker()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_head(self) -> None:
        """Start the head, without CPUs to train on; a killed one comes back at the same address."""
        head = self._start(
            HEAD,
            *("--head", "--num-cpus=0", f"--port={self._gcs}", f"--ray-client-server-port={self._client}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"),
            *(f"--temp-dir={self._temporary}",),
        )
        self.nodes.insert(0, head)
        self._wait(head, HEAD)

    def add_worker(self, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start one more worker node; tried twice, because Ray gives up on one that does not join in 30 seconds."""
        try:
            return self._add_worker(cpus)
        except RuntimeError:
            self.kill(self.nodes[-1])
            return self._add_worker(cpus)

    def _add_worker(self, cpus: int) -> subprocess.Popen[bytes]:
        self._started += 1
        address = f"127.0.0.{2 + self._started}"
        worker = self._start(address, f"--address={HEAD}:{self._gcs}", f"--num-cpus={cpus}")
        self.nodes.append(worker)
        self._wait(worker, address)
        return worker

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """SIGKILL a node with all its processes, like a machine that loses power."""
        kill_tree(node.pid)
        node.wait()
        self.nodes.remove(node)

    def stop(self) -> None:
        """End all nodes."""
        for node in [*self.nodes]:
            self.kill(node)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, address: str, *options: str) -> subprocess.Popen[bytes]:
        ports = ("object-manager", "node-manager", "dashboard-agent-listen", "dashboard-agent-grpc")
        ports += ("runtime-env-agent", "metrics-export")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={address}"]
        command += [f"--{name}-port={port}" for name, port in zip(ports, free_ports(len(ports)), strict=True)]
        command += [f"--min-worker-port={WORKER_PORTS[0]}", f"--max-worker-port={WORKER_PORTS[1]}"]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats", *options]
        own = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_ADDRESS", "CUHS_", "AWS_"))}
        with (self.folder / f"node-{len(self.nodes)}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=inherited | own | self._given,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _wait(self, node: subprocess.Popen[bytes], address: str) -> None:
        deadline = time.monotonic() + START_S
        while address not in self._alive():
            if node.poll() is not None or time.monotonic() > deadline:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("node-*.log"))
                raise RuntimeError(f"Ray did not start; its logs in {self.folder} end with\n{logs}")
            time.sleep(0.5)

    def _alive(self) -> set[str]:
        """Addresses of live nodes. A node that was killed counts for some 20 seconds, until the head misses it."""
        answer = self._ask("/nodes?view=summary")
        nodes = answer["data"]["summary"] if answer else []
        return {node["ip"] for node in nodes if node["raylet"].get("state") == "ALIVE"}

    def _ask(self, path: str) -> Any:
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return json.load(response)
        except (OSError, ValueError):
            return None
