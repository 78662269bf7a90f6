"""What a job made, brought home: the outputs that its order names and MLflow's outbox, and nothing else.

Who can write to the object store can write a job's results. They decide what the outputs hold, but not where on this
machine something is written.
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
    """Replace the outputs here by those of a job, which are forgotten in the store then.

    Args:
        store: where the job put them.
        name: of the job.
        outputs: relative paths that its order names.
        watch: gives what is told of the bytes of one transfer, by its label.

    Raises:
        CuhsError: they are not there, something else is, or they cannot be fetched.
    """
    made = read_results(store, name)
    if made is None:
        raise CuhsError(
            f"{name}: succeeded, but its outputs are not in {store.url}; set CUHS_STORE alike on the cluster"
        )
    outbox = made.pop(OUTBOX.as_posix(), None)
    if strangers := sorted(set(made) - set(outputs)):
        raise CuhsError(
            f"{name}: its results in {store.url} hold {strangers[0]!r}, which its stage does not make; nothing was "
            "fetched, find out who wrote there"
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
    # Beside the outbox, as its files are moved there.
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".outbox-") as folder:
        came = Path(folder, "came")
        store.pull(digest, came)
        take_in(came, place)
