"""Writes the results of a search to ``reports/tuning``: the best values, all trials, two figures."""

from collections.abc import Sequence

import yaml

from cuhs.csv_files import write_csv
from pipelines.base.console import console
from pipelines.base.params import Params
from pipelines.base.paths import TUNING
from pipelines.tuning import figures
from pipelines.tuning.trial import Trial, text


def write(p: Params, trials: Sequence[Trial]) -> None:
    """Write ``best.yaml``, ``trials.csv`` and the figures, and print the trials.

    Args:
        p: the parameters of the search.
        trials: all trials, best first; the first one must not have failed.
    """
    TUNING.mkdir(parents=True, exist_ok=True)
    best = trials[0]
    applied = "dvc exp run " + " ".join(f"-S {key}={text(value)}" for key, value in best.values.items())
    (TUNING / "best.yaml").write_text(
        f"# mAP {best.score:.2f} on held-out training identities. To use it:\n# {applied}\n"
        + yaml.safe_dump(best.values, sort_keys=False)
    )
    rows = ([*trial.values.values(), trial.score, trial.epochs, trial.run and trial.run.id] for trial in trials)
    write_csv(TUNING / "trials.csv", [*best.values, "mAP", "epochs", "mlflow_run"], rows)
    figures.draw(TUNING, p.tune.space, [(t.values, t.score) for t in trials if t.score is not None])
    for trial in trials:
        score = "failed" if trial.score is None else f"mAP {trial.score:.1f}"
        console.print(f"{score:>10}  {trial.title}", highlight=False)
    console.print(f"apply the best:  {applied}", soft_wrap=True, highlight=False)
