"""MLflow runs that outlive a killed stage: their id lies beside the checkpoints."""

import logging

from pipelines.params import Params
from pipelines.ray_training import RUNS
from pipelines.tracking import Run

log = logging.getLogger(__name__)


def start_or_resume(name: str, params: Params, kind: str, data_version: str) -> Run:
    """The run of a training, the same one when a killed training is started again.

    Args:
        name: of the run directory, a hash of all inputs.
        params: logged once, when the run opens.
        kind: ``hsl`` or ``model``.
        data_version: of the dataset.
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
    title = f"{params.data.name} {params.variant if kind == 'model' else 'localiser'}"
    run = Run.start(params.tracking.experiment, title, tags, params.model_dump(mode="json"))
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(run.id)
    return run
