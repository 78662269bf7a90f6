"""What a Ray job runs on the cluster; :mod:`pipelines.cluster.submit` submits it.

``python -m pipelines.cluster.job NAME ORDER`` fetches the inputs that the order names, runs the stage, and stores its
outputs.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from pydantic import ConfigDict

from cuhs.documents import Document
from cuhs.errors import CuhsError, quoted
from pipelines.base import cli
from pipelines.base.paths import OUTBOX
from pipelines.base.versions import CODE
from pipelines.storage import places
from pipelines.storage.inside import below, inside
from pipelines.storage.object_store import VARIABLE, ObjectStore
from pipelines.storage.trees import files_of

RESULTS = "outputs.json"
# The stages that can run on a cluster.
STAGES = ("pretrain_hsl", "train", "evaluate", "tune")


@dataclass(frozen=True)
class JobOrder:
    """What a job has to do.

    Attributes:
        stage: the stage to run.
        inputs: the digests of the trees that it needs, by path.
        outputs: the paths that it makes.
        store: the object store's address.
        tracking: MLflow's address on the submitting machine; the cluster's own ``MLFLOW_TRACKING_URI`` has priority.
        commit: the code's commit, the fields of :class:`pipelines.base.versions.Commit`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    stage: str
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    store: str
    tracking: str
    commit: dict[str, str | bool | None]

    def to_json(self) -> str:
        """JSON for :func:`read`."""
        return json.dumps(asdict(self), sort_keys=True)

    def digest(self, code: Path) -> str:
        """A hash of the order and of the code that carries it out."""
        digest = sha256(self.to_json().encode())
        for relative, path in files_of(code):
            digest.update(f"{relative}\0".encode() + path.read_bytes())
        return digest.hexdigest()


_ORDER = Document(JobOrder, "a job's order", "submit the stage again")
# The digests of a job's outputs, by path.
_RESULTS = Document(dict[str, str], "a job's results", "submit the stage again")


def read(text: str) -> JobOrder:
    """An order from JSON.

    Raises:
        CuhsError: it is not an order, its stage does not run on a cluster, or a path in it leaves the project.
    """
    order = _ORDER.parse(text, "ORDER")
    if order.stage not in STAGES:
        raise CuhsError(f"ORDER: {quoted(order.stage)} does not run on a cluster; there are {', '.join(STAGES)}")
    for path in (*order.inputs, *order.outputs):
        below(Path(), path)
    return order


def main() -> int:
    """Carry out the order on the command line; returns the exit code."""
    return cli.run(_work)


def _work() -> None:
    if len(sys.argv) != 3:
        raise CuhsError("usage: python -m pipelines.cluster.job NAME ORDER")
    name, order = sys.argv[1], read(sys.argv[2])
    sys.argv = [order.stage]
    os.environ[VARIABLE] = order.store
    os.environ.setdefault("MLFLOW_TRACKING_URI", order.tracking)
    os.environ[CODE] = json.dumps(order.commit)
    store = ObjectStore.from_environment()
    # Jobs with the same code share one folder of it, so each works in its own.
    code = Path.cwd()
    os.chdir(tempfile.mkdtemp(prefix="cuhs-job-"))
    for item in code.iterdir():
        Path(item.name).symlink_to(item)
    with places.located({path: places.tree(store, digest) for path, digest in order.inputs.items()}) as inputs:
        for path, here in inputs.items():
            # The code is linked here; `inside` refuses a path that leads into it.
            place = inside(Path(), path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(here)
        import_module(f"pipelines.stages.{order.stage}").run()
    # Entries that MLflow has not taken yet go back with the outputs, and are sent from there.
    made = [*order.outputs, *([str(OUTBOX)] if any(OUTBOX.glob("*/*.json")) else [])]
    write_results(store, name, {path: store.push(Path(path)) for path in made})


def write_results(store: ObjectStore, name: str, trees: dict[str, str]) -> None:
    """Store a job's results under its name: the digests of its outputs by path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        path.write_text(json.dumps(trees))
        _of(store, name).push(path)


def read_results(store: ObjectStore, name: str) -> dict[str, str] | None:
    """What :func:`write_results` stored; none if there is nothing yet, or if it was fetched and removed.

    Raises:
        CuhsError: the results are damaged, or the store failed.
    """
    digests = _of(store, name).trees()
    if not digests:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        _of(store, name).pull(digests[-1], path)
        try:
            return _RESULTS.read(path)
        except CuhsError as error:
            raise CuhsError(
                f"{name}: its results are damaged; delete the job in Ray and submit the stage again"
            ) from error


def forget_results(store: ObjectStore, name: str) -> None:
    """Remove a job's results from the store, after its outputs were fetched."""
    _of(store, name).delete()


def _of(store: ObjectStore, name: str) -> ObjectStore:
    return store.within("jobs", name)


if __name__ == "__main__":
    sys.exit(main())
