"""What a server has not taken yet: entries in order, on disk, until it has.

Each entry is a JSON file, and a folder beside it holds the files it names, where they had to be kept: DVC deletes
outputs before a stage runs again.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

Entry = dict[str, Any]


class Outbox:
    """The entries of one receiver.

    Args:
        folder: made with the first entry, removed with the last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pending(self) -> list[Entry]:
        """What waits, the oldest first."""
        return [json.loads(path.read_text()) for path in self._paths()]

    def put(self, entry: Entry) -> None:
        """Keep an entry until it is delivered; ``path`` in it names a file or folder that goes with it."""
        with self._lock():
            number = int(self._paths()[-1].stem) + 1 if self._paths() else 0
            self._write(self._folder / f"{number:06}.json", entry)

    def deliver(self, send: Callable[[Entry], None]) -> Exception | None:
        """Send what waits, in order, until all is sent or one entry fails.

        Args:
            send: delivers one entry, or raises. An entry may come twice, where what delivered it was killed.

        Returns:
            What ``send`` raised; that entry and those after it stay, and the files that they name are copied.
        """
        if not self._folder.is_dir():
            return None
        with self._lock():
            for path in self._paths():
                try:
                    send(json.loads(path.read_text()))
                except Exception as error:  # whatever a server can raise
                    self._keep_files()
                    return error
                path.unlink()
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        # Not within the lock, which lies in it.
        if not self._paths():
            shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _lock(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / "lock")

    def _write(self, path: Path, entry: Entry) -> None:
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(entry))
        unfinished.replace(path)

    def _keep_files(self) -> None:
        for path in self._paths():
            entry = json.loads(path.read_text())
            folder = path.with_suffix("").resolve()
            source = Path(entry.get("path", ""))
            if "path" not in entry or folder in source.parents or not source.exists():
                continue
            kept = folder / source.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if source.is_dir():
                shutil.copytree(source, kept)
            else:
                shutil.copy(source, kept)
            self._write(path, {**entry, "path": str(kept)})
