"""MLflow runs that outlive a killed stage: their id lies beside the checkpoints."""

import logging

from pipelines.params import Params
from pipelines.ray_training import RUNS
from pipelines.tracking import Run

log = logging.getLogger(__name__)


def start_or_resume(
    name: str, params: Params, kind: str, data_version: str, *, title: str | None = None, parent: str | None = None
) -> Run:
    """The run of a training, the same one when a killed training is started again.

    Args:
        name: of the run directory, a hash of all inputs.
        params: logged once, when the run opens.
        kind: ``hsl``, ``model``, ``tuning`` or ``trial``.
        data_version: of the dataset.
        title: what the run is called; by default data and variant.
        parent: id of the run that it is a child of.
    """
    marker = RUNS / name / "mlflow_run_id"
    if marker.is_file():
        run = Run(marker.read_text().strip())
        if run.exists():
            log.info("going on with %s", name)
            run.reopen()
            return run
    tags = {
        "cuhs.kind": kind,
        "cuhs.profile": params.profile,
        "cuhs.data": params.data.name,
        "cuhs.variant": params.variant,
        "cuhs.data_version": data_version,
    }
    if parent:
        tags["mlflow.parentRunId"] = parent
    title = title or f"{params.data.name} {'localiser' if kind == 'hsl' else params.variant}"
    logged = params.model_dump(mode="json", exclude=None if kind == "tuning" else {"tune"})
    run = Run.start(params.tracking.experiment, title, tags, logged)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(run.id)
    return run
