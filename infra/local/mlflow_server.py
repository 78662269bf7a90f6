"""A real MLflow server on loopback; clients get artifacts through it and need no keys for the object store."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from infra.local.processes import kill_tree
from infra.local.seaweed import free_ports

START_S = 120.0


class MlflowServer:
    """Runs while its ``with`` block does. Started again after a stop, it has the same port and the same data.

    Args:
        folder: for its log, and for its data unless the next two name other places.
        database: URI of its backend store; none: SQLite in the folder.
        artifacts: where artifacts go, such as ``s3://bucket/prefix``; none: the folder.
        environment: variables, such as the credentials of an object store.
    """

    def __init__(
        self,
        folder: Path,
        database: str | None = None,
        artifacts: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._database = database or f"sqlite:///{self.folder / 'mlflow.db'}"
        self._artifacts = artifacts or str(self.folder / "artifacts")
        self._environment = {**os.environ, **(environment or {}), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended or took longer than ``START_S``; the message shows the end of its log.
        """
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += [
            "--workers",
            "1",
            "--backend-store-uri",
            self._database,
            "--artifacts-destination",
            self._artifacts,
        ]
        log = self.folder / "log"
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"MLflow did not start; {log} ends with\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        return self

    def kill(self) -> None:
        """SIGKILL it with all its processes."""
        if self.process is not None:
            kill_tree(self.process.pid)
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False
