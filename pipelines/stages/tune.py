"""``python -m pipelines.stages.tune``: search parameters with Ray Tune, judged on held-out training identities.

The test split takes no part. Each trial is a Ray Train run of its own and a child of one MLflow run. Killed and
started again, finished trials are kept and unfinished ones go on from their last epoch.
"""

import csv
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cuhs.errors import CuhsError
from pipelines.base import cli, params
from pipelines.base.console import console
from pipelines.base.params import Params
from pipelines.base.versions import DATASET, code_version, data_version, file_version, run_name
from pipelines.cluster.resources import concurrent, resources, scaling, start_ray
from pipelines.stages import pretrain_hsl
from pipelines.tracking import stage_runs
from pipelines.tracking.mlflow_store import uri
from pipelines.tracking.run import Run
from pipelines.training import ray_training
from pipelines.training.trainings import VALIDATION, TrialRun
from pipelines.tuning import figures as tuning_figures

OUT = Path("reports/tuning")
# Trials are driven from the machine of the search, where their records lie, and take no CPU from their workers: of
# what Ray calls a node's own resource there is 1, and any number of them fits.
ON_THIS_NODE = 0.001

log = logging.getLogger(__name__)


def main() -> None:
    """Write ``reports/tuning``: ``best.yaml``, ``trials.csv`` and two figures."""
    p = params.load()
    if not p.tune.space:
        raise CuhsError("tune.space: nothing to search; name a key and its range, as pipelines/conf/config.yaml does")
    for key, space in p.tune.space.items():
        for value in next(iter(space.values())):
            params.with_values(p, {key: value})
    if p.tune.epochs:
        p = params.with_values(p, {"train.epochs": p.tune.epochs})
    data = data_version()
    paths = {"dataset": str(DATASET.resolve()), "hsl": str(pretrain_hsl.OUT.resolve())}
    hsl = file_version(pretrain_hsl.OUT / "model.safetensors") if p.network.learned_stream else None
    searched = p.model_dump(mode="json", include={"image", "network", "train", "tune"})
    name = run_name("tune", data=data, hsl=hsl, code=code_version(), **searched)
    parent = stage_runs.start_or_resume(
        name, p, kind="tuning", data_version=data, title=f"{p.data.name} {p.variant} tuning"
    )

    trials = _search(p, paths, name, parent, data)
    _write(p, trials)
    for trial in trials:
        ray_training.discard_checkpoints(f"{name}/{_trial_name(trial['values'])}")
        if trial["run"]:
            trial["run"].finish(failed=trial["mAP"] is None)
    parent.metrics({f"best/{VALIDATION}": trials[0]["mAP"], "trials": len(trials)})
    parent.artifacts(OUT, "tuning")
    parent.finish()


def _search(p: Params, paths: dict[str, str], name: str, parent: Run, data: str) -> list[dict[str, Any]]:
    """All trials, best first: their ``values``, ``mAP`` (none where it failed), ``epochs`` and ``run``."""
    # Ray Tune would take Ctrl-C for "that is enough"; here it ends the stage, and the same command goes on.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
    os.environ["MLFLOW_TRACKING_URI"] = uri()
    start_ray()
    import ray
    from ray import tune

    has = resources()
    beside = concurrent(p.compute, *has)
    scaled = scaling(p.compute, *has, trials=beside)
    folder = (ray_training.RUNS / name).resolve()
    trial = partial(_trial, base=p, paths=paths, folder=folder, parent=parent.key, data=data, scaled=scaled)
    trainable = tune.with_resources(trial, {f"node:{ray.util.get_node_ip_address()}": ON_THIS_NODE})
    state = folder / "search"
    if tune.Tuner.can_restore(str(state)):
        log.info("going on with %s", name)
        tuner = tune.Tuner.restore(str(state), trainable, resume_unfinished=True, restart_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_space(p),
            tune_config=_tune_config(p, beside),
            run_config=tune.RunConfig(
                name=state.name, storage_path=str(folder), verbose=0, callbacks=[_lines()], failure_config=None
            ),
        )
    results = tuner.fit()
    found = []
    for result in (results[i] for i in range(len(results))):
        metrics = result.metrics or {}
        values = dict(result.config or {})
        marker = ray_training.RUNS / name / _trial_name(values) / "mlflow_run"
        found.append(
            {
                "values": values,
                "mAP": metrics.get(VALIDATION) if result.error is None else None,
                "epochs": metrics.get("training_iteration", 0),
                "run": Run(marker.read_text().strip()) if marker.is_file() else None,
            }
        )
    found.sort(key=lambda t: (-(t["mAP"] if t["mAP"] is not None else -1.0), str(t["values"])))
    if found[0]["mAP"] is None:
        raise CuhsError(f"no trial ended; the first one failed with: {_last_line(results[0].error)}")
    return found


def _trial(
    values: dict[str, Any],
    *,
    base: Params,
    paths: dict[str, str],
    folder: Path,
    parent: str,
    data: str,
    scaled: dict[str, Any],
) -> None:
    """One trial, in a process of Ray Tune's: a Ray Train run with these values."""
    from ray.tune.integration.ray_train import TuneReportCallback

    p = params.with_values(base, values)
    # Tune starts this in a folder of its own; everything is named absolutely.
    os.chdir(folder.parents[1])
    name = _trial_name(values)
    run = stage_runs.start_or_resume(
        f"{folder.name}/{name}", p, kind="trial", data_version=data, title=_title(values), parent=parent
    )
    ray_training.run_workers(TrialRun, p, paths, folder / name, run, scaled, callbacks=[TuneReportCallback()])


def _space(p: Params) -> dict[str, Any]:
    from ray import tune

    make = {
        "choice": tune.grid_search if p.tune.search == "grid" else tune.choice,
        "uniform": lambda ends: tune.uniform(*ends),
        "loguniform": lambda ends: tune.loguniform(*ends),
        # Ray leaves the upper end out.
        "integers": lambda ends: tune.randint(ends[0], ends[1] + 1),
    }
    return {key: make[kind](values) for key, space in p.tune.space.items() for kind, values in space.items()}


def _tune_config(p: Params, beside: int) -> Any:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    grid = p.tune.search == "grid"
    scheduler = None
    if p.tune.grace_epochs and p.tune.grace_epochs < p.train.epochs:
        scheduler = ASHAScheduler(max_t=p.train.epochs, grace_period=p.tune.grace_epochs)
    return tune.TuneConfig(
        metric=VALIDATION,
        mode="max",
        search_alg=None if grid else OptunaSearch(seed=p.tune.seed),
        scheduler=scheduler,
        num_samples=1 if grid else p.tune.trials,
        max_concurrent_trials=beside,
    )


def _lines() -> Any:
    from ray import tune

    class Lines(tune.Callback):
        """One line for each epoch of each trial."""

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            # Here: Ray stores this object, and a console cannot be stored.
            from pipelines.base.console import console

            done = sum(t.status == "TERMINATED" for t in trials)
            if VALIDATION in result:
                console.print(
                    f"{done} trials done, now {_title(trial.config)}  epoch {result['training_iteration']}  "
                    f"mAP {result[VALIDATION]:.1f}",
                    highlight=False,
                )

    return Lines()


def _write(p: Params, trials: list[dict[str, Any]]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    best = trials[0]["values"]
    applied = "dvc exp run " + " ".join(f"-S {key}={_text(value)}" for key, value in best.items())
    (OUT / "best.yaml").write_text(
        f"# mAP {trials[0]['mAP']:.2f} on held-out training identities. To use it:\n# {applied}\n"
        + yaml.safe_dump(best, sort_keys=False)
    )
    with (OUT / "trials.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*best, "mAP", "epochs", "mlflow_run"])
        for trial in trials:
            rows.writerow(
                [*trial["values"].values(), trial["mAP"], trial["epochs"], trial["run"] and trial["run"].id]
            )
    tuning_figures.draw(OUT, p.tune.space, [(t["values"], t["mAP"]) for t in trials if t["mAP"] is not None])
    for trial in trials:
        score = "failed" if trial["mAP"] is None else f"mAP {trial['mAP']:.1f}"
        console.print(f"{score:>10}  {_title(trial['values'])}", highlight=False)
    console.print(f"apply the best:  {applied}", soft_wrap=True, highlight=False)


def _trial_name(values: Mapping[str, Any]) -> str:
    return f"trial-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]}"


def _title(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{key.rpartition('.')[2]}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["nothing said"])[-1]


if __name__ == "__main__":
    # By its own name and not as __main__: Ray sends the trial's function by reference then.
    from pipelines.stages import tune

    cli.run_stage("tune", tune.main)
