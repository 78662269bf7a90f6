"""The other end of :mod:`pipelines.cluster.submit`: what a Ray job runs, on the cluster.

``python -m pipelines.cluster.job NAME ORDER`` fetches the inputs that the order names, runs the stage, and stores
what it made.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from pipelines.base import cli
from pipelines.base.versions import COMMIT, DIRTY
from pipelines.storage import places
from pipelines.storage.object_store import VARIABLE, ObjectStore
from pipelines.storage.trees import files_of
from pipelines.tracking.run import OUTBOX

RESULTS = "outputs.json"


@dataclass(frozen=True)
class Order:
    """What a job shall do.

    Attributes:
        stage: its name.
        inputs: digests of the trees that it needs, by path.
        outputs: paths that it makes.
        store: the object store's address.
        tracking: MLflow's, as seen from where the job was submitted; the cluster's own goes first.
        commit, dirty: of the code.
    """

    stage: str
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    store: str
    tracking: str
    commit: str
    dirty: bool

    def to_json(self) -> str:
        """As :func:`read` takes it."""
        return json.dumps(asdict(self), sort_keys=True)

    def digest(self, code: Path) -> str:
        """Of the order and the code that it is done with."""
        digest = sha256(self.to_json().encode())
        for relative, path in files_of(code):
            digest.update(f"{relative}\0".encode() + path.read_bytes())
        return digest.hexdigest()


def read(text: str) -> Order:
    """An order from JSON."""
    found = json.loads(text)
    return Order(**{**found, "outputs": tuple(found["outputs"])})


def main() -> None:
    """Do the order that the command line names."""
    name, order = sys.argv[1], read(sys.argv[2])
    sys.argv = [order.stage]
    os.environ[VARIABLE] = order.store
    os.environ.setdefault("MLFLOW_TRACKING_URI", order.tracking)
    os.environ |= {COMMIT: order.commit, DIRTY: str(order.dirty)}
    store = ObjectStore.from_environment()
    # Ray gives one folder with the code to all jobs of the same code.
    code = Path.cwd()
    os.chdir(tempfile.mkdtemp(prefix="cuhs-job-"))
    for item in code.iterdir():
        Path(item.name).symlink_to(item)
    with places.located({path: places.tree(store, digest) for path, digest in order.inputs.items()}) as inputs:
        for path, here in inputs.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(here)
        import_module(f"pipelines.{order.stage}").main()
    # What MLflow did not take yet goes home with the outputs and is sent from there.
    made = [*order.outputs, *([str(OUTBOX)] if any(OUTBOX.glob("*/*.json")) else [])]
    write_results(store, name, {path: store.push(Path(path)) for path in made})


def write_results(store: ObjectStore, name: str, trees: dict[str, str]) -> None:
    """Say, under a job's name, what it made: digests by path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        path.write_text(json.dumps(trees))
        _of(store, name).push(path)


def read_results(store: ObjectStore, name: str) -> dict[str, str] | None:
    """What :func:`write_results` said; none where it has not yet, or it was fetched and removed."""
    digests = _of(store, name).trees()
    if not digests:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        _of(store, name).pull(digests[-1], path)
        found: dict[str, str] = json.loads(path.read_text())
        return found


def forget_results(store: ObjectStore, name: str) -> None:
    """The outputs are where they belong."""
    _of(store, name).delete()


def _of(store: ObjectStore, name: str) -> ObjectStore:
    return store.within("jobs", name)


if __name__ == "__main__":
    cli.run(main)
