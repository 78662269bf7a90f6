"""A training's checkpoints: in its run directory, or in the object store, which all machines can reach.

The first worker saves. A checkpoint is whole or absent, and the last two are kept. A damaged one is named and passed
over, and removed when the next one is saved. Names begin with the epoch and are never used twice, because the remains
of a killed attempt may still be there.
"""

import logging
import os
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cuhs.errors import CuhsError
from cuhs.files import sync
from cuhs.training import checkpoint as checkpoints
from cuhs.training.checkpoint import DamagedCheckpoint
from pipelines.storage.node_cache import NodeCache
from pipelines.storage.object_store import VARIABLE, ObjectStore
from pipelines.storage.trees import DamagedTree, remove

log = logging.getLogger(__name__)


class CheckpointStore(Protocol):
    """The checkpoints of one run; the object can be sent to workers."""

    def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> None:
        """Store the state, verify that the checkpoint is whole, and remove all but this and the one before.

        Args:
            state: tensors and plain values.
            epoch: the current epoch, counted from 0.
            step: in mid-epoch, the number of its steps that are done; none if the epoch has ended.

        Raises:
            CuhsError: it could not be stored.
        """

    def newest(self) -> str | None:
        """The name of the newest whole checkpoint; damaged and unfinished ones are skipped.

        Raises:
            CuhsError: the store failed.
        """

    def load(self, name: str) -> dict[str, Any]:
        """The state that :meth:`save` stored.

        Raises:
            DamagedCheckpoint, DamagedTree: the checkpoint is missing or damaged.
            CuhsError: the store failed.
        """

    def discard(self) -> None:
        """Remove all checkpoints of the run.

        Raises:
            CuhsError: the store failed.
        """


def checkpoint_store(runs: Path, name: str) -> CheckpointStore:
    """The checkpoints of a run: in the object store if ``CUHS_STORE`` names one, else in its run directory.

    Args:
        runs: the folder of all run directories.
        name: the run's name, a hash of all its inputs.

    Raises:
        CuhsError: ``CUHS_STORE`` is not an address.
    """
    if os.environ.get(VARIABLE):
        return StoredCheckpoints(ObjectStore.from_environment().within("runs", name).url)
    return FolderCheckpoints((runs / name).resolve())


@dataclass(frozen=True)
class FolderCheckpoints:
    """Checkpoints in a folder that all workers share."""

    folder: Path

    def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> None:
        """See :class:`CheckpointStore`."""
        name = _name(epoch, step)
        unfinished = self.folder / f"unfinished_{name}"
        try:
            checkpoints.save(unfinished, state)
            # A full or failing disk may lose bytes without an error.
            if not checkpoints.is_whole(unfinished):
                raise CuhsError(f"{unfinished}: the checkpoint differs from what was written; check the disk")
            unfinished.rename(self.folder / name)
            sync(self.folder)
            for old in _superseded((path.name for path in self.folder.glob("checkpoint_*")), name):
                remove(self.folder / old)
            for left in self.folder.glob("unfinished_*"):
                remove(left)
        except OSError as error:
            raise CuhsError(f"{unfinished}: cannot be written ({error.strerror or error})") from error

    def newest(self) -> str | None:
        """See :class:`CheckpointStore`."""
        return _newest(self, (path.name for path in self.folder.glob("checkpoint_*")), str(self.folder))

    def load(self, name: str) -> dict[str, Any]:
        """See :class:`CheckpointStore`."""
        return checkpoints.load(self.folder / name)

    def discard(self) -> None:
        """See :class:`CheckpointStore`."""
        for path in [*self.folder.glob("checkpoint_*"), *self.folder.glob("unfinished_*")]:
            remove(path)


@dataclass(frozen=True)
class StoredCheckpoints:
    """Checkpoints in the object store, each below its own prefix so that it can be removed; machines keep copies."""

    url: str

    def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> None:
        """See :class:`CheckpointStore`."""
        store, name = ObjectStore(self.url), _name(epoch, step)
        with tempfile.TemporaryDirectory() as folder:
            checkpoints.save(Path(folder), state)
            store.within(name).push(Path(folder))
        for old in _superseded(store.children(), name):
            store.within(old).delete()

    def newest(self) -> str | None:
        """See :class:`CheckpointStore`."""
        return _newest(self, ObjectStore(self.url).children(), self.url)

    def load(self, name: str) -> dict[str, Any]:
        """See :class:`CheckpointStore`."""
        store = ObjectStore(self.url).within(name)
        digests = store.trees()
        if not digests:
            raise DamagedTree(f"{store.url}: unfinished checkpoint")
        with NodeCache(store).use(digests[0]) as folder:
            return checkpoints.load(folder)

    def discard(self) -> None:
        """See :class:`CheckpointStore`."""
        ObjectStore(self.url).delete()


def _name(epoch: int, step: int | None) -> str:
    # "-" sorts before "_", so a checkpoint in mid-epoch sorts before the one at the epoch's end.
    part = "" if step is None else f"-{step:08d}"
    return f"checkpoint_{epoch:04d}{part}_{uuid.uuid4().hex[:8]}"


def _newest(store: CheckpointStore, names: Iterable[str], place: str) -> str | None:
    """The last name whose checkpoint can be loaded."""
    for name in sorted(names, reverse=True):
        try:
            store.load(name)
            return name
        except (DamagedTree, DamagedCheckpoint) as error:
            log.warning("%s/%s: damaged or unfinished checkpoint, the one before is used (%s)", place, name, error)
    return None


def _superseded(names: Iterable[str], saved: str) -> list[str]:
    """All names but ``saved`` and the last before it; others as late as it were passed over as damaged."""
    found = sorted(names)
    before = [name for name in found if _progress(name) < _progress(saved)]
    return [name for name in found if name not in {saved, *before[-1:]}]


def _progress(name: str) -> str:
    return name[: name.rfind("_") + 1]
