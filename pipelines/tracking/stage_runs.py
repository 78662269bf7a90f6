"""MLflow runs that survive a killed stage: their key is kept beside the checkpoints."""

import logging
from pathlib import Path

from cuhs.data.shards import read_summary
from cuhs.errors import CuhsError
from cuhs.files import read_file, write_file
from cuhs.network.config import InstanceStream, PartStream, Stream, StripesStream
from pipelines.base.params import Params
from pipelines.base.paths import DATASET, RUNS
from pipelines.base.versions import data_digest
from pipelines.storage.places import apart
from pipelines.tracking.run import DataUsed, Run, new_key, send_left

# The first word of a run's name, by its kind, so that a list of runs tells them apart.
KINDS = {"hsl": "localiser", "model": "model", "tuning": "search", "trial": "trial", "evaluation": "evaluation"}
# The tag that holds the run directory's name.
TRAINING = "cuhs.training"

log = logging.getLogger(__name__)


def start_or_resume(
    name: str, params: Params, kind: str, data_version: str, *, title: str | None = None, parent: str | None = None
) -> Run:
    """The run of a training: a new one, or the same one if a killed training is started again.

    Args:
        name: the run directory's name, a hash of all inputs.
        params: the parameters, logged once when the run opens.
        kind: ``hsl``, ``model``, ``tuning`` or ``trial``.
        data_version: the dataset's version.
        title: the run's name in MLflow; by default its kind, data and variant.
        parent: the key of its parent run.
    """
    send_left()
    marker = RUNS / name / "mlflow_run"
    known = _known(marker) if marker.exists() else None
    if known is None and apart():
        # Another machine of the cluster may have started it.
        known = Run.going_on(TRAINING, name)
    if known and not known.lost():
        log.info("going on with %s", name)
        known.reopen()
        return known
    what = params.data.name if kind == "hsl" else f"{params.data.name} {params.variant}"
    title = title or f"{KINDS[kind]}: {what}"
    logged = params.model_dump(mode="json", exclude=None if kind == "tuning" else {"tune"})
    # The key is written first: if the stage is killed in between, it finds its run again and makes no second one.
    key = new_key()
    marker.parent.mkdir(parents=True, exist_ok=True)
    write_file(marker, key)
    return Run.start(
        params.tracking.experiment,
        title,
        tags(params, kind, data_version) | {TRAINING: name},
        logged,
        description(params, kind),
        data_used(params, "training"),
        parent,
        key,
    )


def _known(marker: Path) -> Run | None:
    """The run that a killed training wrote to; none if its key is damaged, which is set aside then."""
    try:
        return Run(read_file(marker, 1000).decode().strip())
    except (OSError, UnicodeDecodeError, CuhsError):
        aside = marker.with_suffix(".damaged")
        log.warning("%s: names no run; it is set aside as %s, and a new run is opened", marker, aside.name)
        marker.replace(aside)
        return None


def tags(params: Params, kind: str, data_version: str) -> dict[str, str]:
    """The tags by which runs are found."""
    return {
        "cuhs.kind": kind,
        "cuhs.profile": params.profile,
        "cuhs.data": params.data.name,
        "cuhs.variant": params.variant,
        "cuhs.data_version": data_version,
    }


def data_used(params: Params, context: str) -> DataUsed:
    """The built dataset as an MLflow input, with DVC's hash of it."""
    return DataUsed(params.data.name, data_digest(), DATASET.as_posix(), read_summary(DATASET)["groups"], context)


def description(params: Params, kind: str) -> str:
    """A description of a run in two lines."""
    size = f"{params.image.height}×{params.image.width} images, {params.network.backbone}, profile {params.profile}"
    if kind == "hsl":
        hsl = params.pretrain_hsl
        return (
            f"Head-shoulder localiser on {params.data.name}: {size}.\n{hsl.epochs} epochs of batches of {hsl.batch}."
        )
    train = params.train
    streams = ", ".join(f"{name} ({_stream(stream)})" for name, stream in params.network.streams.items())
    return (
        f"{params.variant} on {params.data.name}, {kind}: {streams}; {size}.\n"
        f"{train.epochs} epochs of batches of {train.identities} × {train.images_per_identity}, "
        f"{train.metric_loss} loss, eta {train.eta_1:g} and {train.eta_2:g}, seed {train.seed}."
    )


def _stream(stream: Stream) -> str:
    match stream:
        case InstanceStream():
            return f"{stream.branches} branches, top-k {stream.top_k}" if stream.branches == 2 else "1 branch"
        case PartStream():
            return f"{stream.region} region"
        case StripesStream():
            return f"{stream.parts} stripes, {stream.pooling}"
        case _:
            return stream.pooling
