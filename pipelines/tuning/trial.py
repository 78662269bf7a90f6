"""One trial of a search: a Ray Train run with the values that are tried."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuhs.data.dataset import PersonImages
from cuhs.data.held_out import hold_out
from cuhs.errors import CuhsError
from cuhs.evaluation.groups import evaluate_groups
from cuhs.training.epoch import EpochPart, OnStep
from pipelines.base.params import Params, with_values
from pipelines.evaluation.extraction import extract
from pipelines.tracking import stage_runs
from pipelines.tracking.run import Run
from pipelines.training import ray_training
from pipelines.training.trainings import ReIDRun

VALIDATION = "validation/mAP"


@dataclass(frozen=True)
class Trial:
    """A trial's result.

    Attributes:
        values: its value of each parameter.
        score: mAP in percent on the held-out identities; none if the trial failed.
        epochs: how many epochs it was trained for.
        run: its MLflow run; none if it was never opened.
    """

    values: dict[str, Any]
    score: float | None
    epochs: int
    run: Run | None

    @property
    def title(self) -> str:
        """The values in one line."""
        return title(self.values)


class TrialRun(ReIDRun):
    """The second step, trained on part of the training identities and judged on the others after each epoch."""

    def _images(self, params: Params, paths: dict[str, str]) -> PersonImages:
        self.params = params
        images = super()._images(params, paths)
        trained, queries, gallery = hold_out(images.pids, images.camids, params.tune.held_out, params.tune.seed)
        self.judged_on = images.take(queries), images.take(gallery)
        return images.take(trained)

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """One pass, then ``validation/mAP`` of ``tune.group`` in percent; each worker ranks all held-out images."""
        metrics = super().epoch(epoch, part, on_step)
        network, p = self.model.network, self.params
        query, gallery = (extract(network, images, p, self.device) for images in self.judged_on)
        groups = evaluate_groups(query, gallery, chunk_mb=p.evaluate.chunk_mb, resamples=1)
        if p.tune.group not in groups or not groups[p.tune.group].metrics["queries"]:
            known = ", ".join(name for name, group in groups.items() if group.metrics["queries"])
            raise CuhsError(f"tune.group: {p.tune.group!r} has no held-out query; there are {known}")
        return {**metrics, VALIDATION: float(groups[p.tune.group].metrics["mAP"] or 0.0)}


def run_trial(
    values: dict[str, Any],
    *,
    base: Params,
    paths: dict[str, str],
    folder: Path,
    parent: str,
    data: str,
    scaled: dict[str, Any],
) -> None:
    """Run one trial in a process of Ray Tune: a Ray Train run with these values."""
    from ray.tune.integration.ray_train import TuneReportCallback

    p = with_values(base, {**values, "train.profile": 0})
    # Ray Tune starts this in its own folder, but paths are relative to the project's root.
    os.chdir(folder.parents[1])
    name = trial_name(values)
    run = stage_runs.start_or_resume(
        f"{folder.name}/{name}", p, kind="trial", data_version=data, title=title(values), parent=parent
    )
    ray_training.run_workers(TrialRun, p, paths, folder / name, run, scaled, callbacks=[TuneReportCallback()])


def trial_name(values: Mapping[str, Any]) -> str:
    """The name of a trial's run directory; the same values give the same name."""
    return f"trial-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]}"


def title(values: Mapping[str, Any]) -> str:
    """Values in one line: ``top_k=5  eta_1=0.7``."""
    return "  ".join(f"{key.rpartition('.')[2]}={text(value)}" for key, value in values.items())


def text(value: Any) -> str:
    """A value in the form that ``dvc exp run -S`` accepts."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
