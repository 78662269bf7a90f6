"""Entries that a server has not taken yet, kept on disk in order until it takes them.

Each entry is a JSON file. If the files that it names had to be kept, because DVC deletes outputs before a stage runs
again, a folder beside it holds copies. Such an entry has a relative path, so that it works on another machine too.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from cuhs.documents import MOST
from cuhs.errors import CuhsError
from cuhs.files import read_file, write_file
from pipelines.storage.inside import inside

Entry = dict[str, Any]
# The form of an outbox's name, and of an entry's.
KEY, NUMBERED = re.compile("[0-9a-f]{32}"), re.compile(r"\d{6,9}\.json")

log = logging.getLogger(__name__)


class Outbox:
    """The waiting entries of one run.

    Args:
        folder: where they are kept; it is made with the first entry and removed with the last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pending(self) -> list[Entry]:
        """The waiting entries, oldest first."""
        return [entry for _, entry in self._whole()]

    def put(self, entry: Entry) -> None:
        """Keep an entry until it is delivered; its ``path`` names a file or folder to send with it."""
        with self._lock():
            _write(self._next(), entry)

    def take(self, path: Path) -> None:
        """Move an entry of another outbox to the end of this one, with the files that were kept for it.

        Raises:
            CuhsError: it is not an entry, or names files that were not kept for it.
        """
        entry = _read(path)
        kept = _kept(path, entry)
        with self._lock():
            new = self._next()
            if kept:
                place = new.with_suffix("") / kept.name
                place.parent.mkdir()
                shutil.move(kept, place)
                entry["path"] = place.relative_to(self._folder).as_posix()
            _write(new, entry)

    def deliver(self, send: Callable[[Entry], None]) -> Exception | None:
        """Send the waiting entries in order, until all are sent or one fails.

        Args:
            send: delivers one entry, or raises. It may get an entry twice if its process was killed meanwhile.

        Returns:
            What ``send`` raised. That entry and those after it stay, and the files that they name are copied.
        """
        if not self._folder.is_dir():
            return None
        with self._lock():
            for path, entry in self._whole():
                try:
                    send(self._placed(entry))
                except Exception as error:  # whatever a server can raise
                    self._keep_files()
                    return error
                path.unlink()
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        # After the lock is released, because its file is in the folder.
        if not (self._paths() or self._set_aside()):
            shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _set_aside(self) -> list[Path]:
        return sorted(self._folder.glob("*.damaged"))

    def _whole(self) -> list[tuple[Path, Entry]]:
        """The entries with their paths, oldest first; damaged ones are set aside."""
        found = []
        for path in self._paths():
            try:
                found.append((path, _read(path)))
            except CuhsError as error:
                aside = path.with_suffix(".damaged")
                log.warning("MLflow: %s; it is set aside as %s, and the others are sent", error, aside)
                with suppress(FileNotFoundError):  # another process was faster
                    path.replace(aside)
        return found

    def _next(self) -> Path:
        taken = [int(path.stem) for path in (*self._paths(), *self._set_aside())]
        return self._folder / f"{max(taken, default=-1) + 1:06}.json"

    def _placed(self, entry: Entry) -> Entry:
        if "path" not in entry or Path(entry["path"]).is_absolute():
            return entry
        return {**entry, "path": str(inside(self._folder, entry["path"]).absolute())}

    def _lock(self) -> FileLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / "lock")

    def _keep_files(self) -> None:
        for path, entry in self._whole():
            folder = path.with_suffix("").resolve()
            source = Path(entry.get("path", ""))
            if not source.is_absolute() or folder in source.parents or not source.exists():
                continue
            kept = folder / source.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if source.is_dir():
                shutil.copytree(source, kept)
            else:
                shutil.copy(source, kept)
            _write(path, {**entry, "path": f"{path.stem}/{source.name}"})


def take_in(came: Path, home: Path) -> None:
    """Move the entries of outboxes that came from another machine into the outboxes here.

    Anyone who can write to the object store can write such outboxes. So files that do not belong to an outbox are
    left behind, and so are entries that name a file on this machine, which would be sent to the server. A warning
    names each.

    Args:
        came: the folder of outboxes that came; entries that are taken are removed from it.
        home: the folder of the outboxes here.
    """
    for folder in sorted(came.iterdir()):
        if not KEY.fullmatch(folder.name) or not folder.is_dir():
            log.warning("outbox: %r is not a run's outbox; left behind", folder.name)
            continue
        entries = [path for path in sorted(folder.iterdir()) if NUMBERED.fullmatch(path.name)]
        known = {"lock", *(path.name for path in entries), *(path.stem for path in entries)}
        for stranger in sorted({path.name for path in folder.iterdir()} - known):
            log.warning("outbox: %r does not belong to an outbox; left behind", f"{folder.name}/{stranger}")
        for path in entries:
            try:
                Outbox(home / folder.name).take(path)
            except CuhsError as error:
                log.warning("outbox: %s; left behind", error)


def _write(path: Path, entry: Entry) -> None:
    write_file(path, json.dumps(entry))


def _read(path: Path) -> Entry:
    try:
        entry = json.loads(read_file(path, MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise CuhsError(f"{path.parent.name}/{path.name}: cannot be read as an entry") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("do"), str):
        raise CuhsError(f"{path.parent.name}/{path.name}: is not an entry")
    return entry


def _kept(path: Path, entry: Entry) -> Path | None:
    """The file or folder that was kept for an entry; none if it names none."""
    if "path" not in entry:
        return None
    name = str(entry["path"])
    place = inside(path.parent, name)
    if place.parent != path.with_suffix("") or not place.exists():
        raise CuhsError(f"{path.parent.name}/{path.name}: names {name!r}, which did not come with it")
    return place
