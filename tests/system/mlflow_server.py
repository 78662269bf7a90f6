"""A real MLflow server on loopback: its own database, artifacts through the server."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

from mlflow import MlflowClient

from tests.system.project import kill_tree, wait_for


class MlflowServer:
    """Runs while a ``with`` block does; stopped and started again, it has the same port and the same data.

    Args:
        folder: of its database, artifacts and log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    @property
    def client(self) -> MlflowClient:
        """One that is sure of its address, whatever the environment says."""
        return MlflowClient(self.url, self.url)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        wait_for(lambda: answers(f"{self.url}/health"), self._process, seconds=120)

    def kill(self) -> None:
        """SIGKILL it and what it started."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def answers(url: str) -> bool:
    """Whether something says that all is well there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
