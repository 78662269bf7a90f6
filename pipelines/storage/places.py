"""Where workers find files: on a shared disk, or in the object store, from which each machine keeps a copy.

A place is a string: an absolute path, or the object store's address, ``#``, and the digest of a tree in it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipelines.storage.node_cache import NodeCache
from pipelines.storage.object_store import VARIABLE, ObjectStore


def apart() -> bool:
    """Whether workers may share no disk with this process: it joined a cluster, and ``CUHS_STORE`` names a store."""
    return bool(os.environ.get("RAY_ADDRESS") and os.environ.get(VARIABLE))


def place(path: Path) -> str:
    """Where workers find a file or a folder. If they share no disk, it is stored in the object store first.

    Raises:
        CuhsError: the store failed.
    """
    if not apart():
        return str(path.resolve())
    store = ObjectStore.from_environment()
    return tree(store, store.push(path))


def tree(store: ObjectStore, digest: str) -> str:
    """The place of a tree in a store."""
    return f"{store.url}#{digest}"


@contextmanager
def located(places: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The paths of named places on this machine; they stay while the block runs.

    Raises:
        CuhsError: the store failed.
    """
    with ExitStack() as stack:
        paths = {}
        for name, where in places.items():
            url, _, digest = where.rpartition("#")
            stored = url.startswith("s3://")
            paths[name] = str(stack.enter_context(NodeCache(ObjectStore(url)).use(digest))) if stored else where
        yield paths
