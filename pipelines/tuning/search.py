"""Searches parameters with Ray Tune, judged on held-out training identities, never on the test split.

Each trial is a Ray Train run and a child of the search's MLflow run. A killed search that is started again keeps its
finished trials and continues the others from their last epoch.
"""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from cuhs.alone import alone
from cuhs.errors import CuhsError
from pipelines.base.params import NO_RESULT, Params, with_values
from pipelines.base.paths import DATASET, HSL, RUNS, TUNING
from pipelines.base.versions import code_version, data_version, file_version, run_name
from pipelines.cluster.joining import start_ray
from pipelines.cluster.resources import concurrent, resources, scaling
from pipelines.tracking import stage_runs
from pipelines.tracking.mlflow_store import uri
from pipelines.tracking.run import Run
from pipelines.training import runs
from pipelines.tuning import results
from pipelines.tuning.trial import VALIDATION, Trial, run_trial, title, trial_name

# Trials are driven from the machine of the search, which holds their records. They take no CPU from their workers:
# each node has 1 of its own Ray resource, and this share of it lets any number of trials fit.
ON_THIS_NODE = 0.001

log = logging.getLogger(__name__)


def search(p: Params) -> None:
    """Search what ``tune.space`` names and write ``reports/tuning``.

    Raises:
        CuhsError: the space is empty or names impossible values, another process does this search here, or every
            trial failed.
    """
    if not p.tune.space:
        raise CuhsError("tune.space: nothing to search; name a key and its range, as pipelines/conf/config.yaml does")
    for key, space in p.tune.space.items():
        for value in next(iter(space.values())):
            with_values(p, {key: value})
    if p.tune.epochs:
        p = with_values(p, {"train.epochs": p.tune.epochs})
    data = data_version()
    paths = {"dataset": str(DATASET.resolve()), "hsl": str(HSL.resolve())}
    hsl = file_version(HSL / "model.safetensors") if p.network.learned_stream else None
    searched = p.model_dump(mode="json", include={"image", "network", "train", "tune"}, exclude={"train": NO_RESULT})
    name = run_name("tune", data=data, hsl=hsl, code=code_version("tune"), **searched)
    with alone(RUNS / name, "search"):
        _search_alone(p, paths, name, data)


def _search_alone(p: Params, paths: dict[str, str], name: str, data: str) -> None:
    parent = stage_runs.start_or_resume(name, p, kind="tuning", data_version=data)
    trials = _search(p, paths, name, parent, data)
    results.write(p, trials)
    for trial in trials:
        runs.discard_checkpoints(f"{name}/{trial_name(trial.values)}")
        if trial.run:
            trial.run.finish(failed=trial.score is None)
    parent.metrics({f"best/{VALIDATION}": trials[0].score, "trials": len(trials)})
    parent.artifacts(TUNING, "tuning")
    parent.finish()


def _search(p: Params, paths: dict[str, str], name: str, parent: Run, data: str) -> list[Trial]:
    """All trials, best first."""
    # Ray Tune would take Ctrl-C for "that is enough". Here Ctrl-C ends the stage, and the same command continues it.
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
    folder = (RUNS / name).resolve()
    trial = partial(run_trial, base=p, paths=paths, folder=folder, parent=parent.key, data=data, scaled=scaled)
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
    found = tuner.fit()
    trials = [_trial(name, found[i]) for i in range(len(found))]
    trials.sort(key=lambda trial: (-(trial.score if trial.score is not None else -1.0), str(trial.values)))
    if trials[0].score is None:
        raise CuhsError(f"no trial ended; the first one failed with: {_last_line(found[0].error)}")
    return trials


def _trial(name: str, result: Any) -> Trial:
    """A trial, made from Ray Tune's result."""
    metrics, values = result.metrics or {}, dict(result.config or {})
    marker: Path = RUNS / name / trial_name(values) / "mlflow_run"
    return Trial(
        values,
        metrics.get(VALIDATION) if result.error is None else None,
        metrics.get("training_iteration", 0),
        Run(marker.read_text().strip()) if marker.is_file() else None,
    )


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
            # Not at the top: Ray pickles this object, and a console cannot be pickled.
            from pipelines.base.console import console

            done = sum(t.status == "TERMINATED" for t in trials)
            if VALIDATION in result:
                console.print(
                    f"{done} trials done, now {title(trial.config)}  epoch {result['training_iteration']}  "
                    f"mAP {result[VALIDATION]:.1f}",
                    highlight=False,
                )

    return Lines()


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["nothing said"])[-1]
