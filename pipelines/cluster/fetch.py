"""Fetches a job's results: the outputs that its order names and MLflow's outbox, and nothing else.

Anyone who can write to the object store can write a job's results. Results decide what the outputs hold, but not
where this machine writes.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base.paths import OUTBOX
from pipelines.cluster.job import forget_results, read_results
from pipelines.storage.inside import inside
from pipelines.storage.object_store import ObjectStore
from pipelines.storage.transfer import OnProgress
from pipelines.tracking.outbox import take_in


def fetch(
    store: ObjectStore,
    name: str,
    outputs: Sequence[str],
    watch: Callable[[str], AbstractContextManager[OnProgress]],
) -> None:
    """Replace the outputs here with those of a job, then remove its results from the store.

    Args:
        store: where the job stored its outputs.
        name: the job's name.
        outputs: the relative paths that its order names.
        watch: opens a progress display for one transfer, given its label.

    Raises:
        CuhsError: results are missing, name something that is not an output, or cannot be fetched.
    """
    made = read_results(store, name)
    if made is None:
        raise CuhsError(
            f"{name}: succeeded, but its outputs are not in {store.url}; set the same CUHS_STORE on the cluster"
        )
    outbox = made.pop(OUTBOX.as_posix(), None)
    if strangers := sorted(set(made) - set(outputs)):
        raise CuhsError(
            f"{name}: its results in {store.url} hold {strangers[0]!r}, which its stage does not make; nothing was "
            "fetched, see who can write there"
        )
    places = {path: inside(Path(), path) for path in sorted(made)}
    for path, place in places.items():
        with watch(path) as moved:
            place.parent.mkdir(parents=True, exist_ok=True)
            store.pull(made[path], place, moved)
    if outbox:
        _fetch_outbox(store, outbox)
    forget_results(store, name)


def _fetch_outbox(store: ObjectStore, digest: str) -> None:
    place = inside(Path(), OUTBOX.as_posix())
    place.mkdir(parents=True, exist_ok=True)
    # On the outbox's disk, because files are moved from here into it.
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".outbox-") as folder:
        came = Path(folder, "came")
        store.pull(digest, came)
        take_in(came, place)
