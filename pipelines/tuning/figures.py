"""Pictures of a search: every trial as a line over the parameters, and which parameter mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from matplotlib import colormaps
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Trials = Sequence[tuple[Mapping[str, Any], float]]
# {key: {kind: values}}, the form of `tune.space`.
Space = Mapping[str, Mapping[Any, list[Any]]]


def draw(folder: Path, space: Space, trials: Trials) -> None:
    """Write ``parallel_coordinates.png`` and, from four trials on, ``importance.png``.

    Args:
        folder: where to write.
        space: the searched ranges.
        trials: the (values, mAP) of each trial.
    """
    _parallel(space, trials).savefig(folder / "parallel_coordinates.png", dpi=130)
    if len(trials) >= 4:
        _bars(importance(space, trials)).savefig(folder / "importance.png", dpi=130)


def importance(space: Space, trials: Trials) -> dict[str, float]:
    """The share of the mAP's variance that each key explains (fANOVA, by Optuna), largest first."""
    ranges = {key: _distribution(kind, values) for key, one in space.items() for kind, values in one.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [optuna.create_trial(params=dict(values), distributions=ranges, value=score) for values, score in trials]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(kind: str, values: list[Any]) -> BaseDistribution:
    match kind:
        case "choice":
            return CategoricalDistribution(values)
        case "integers":
            return IntDistribution(values[0], values[1])
        case _:
            return FloatDistribution(values[0], values[1], log=kind == "loguniform")


def _parallel(space: Space, trials: Trials) -> Figure:
    keys = list(space)
    figure = Figure(figsize=(2.2 * (len(keys) + 1), 4), layout="constrained")
    axes = figure.add_subplot()
    columns = [[values[key] for values, _ in trials] for key in keys] + [[score for _, score in trials]]
    heights = [_heights(column) for column in columns]
    best = max(score for _, score in trials)
    low = min(score for _, score in trials)
    order = sorted(range(len(trials)), key=lambda i: trials[i][1])
    for i in order:
        share = (trials[i][1] - low) / (best - low) if best > low else 1.0
        axes.plot(
            [h[i] for h in heights], color=colormaps["viridis"](share), linewidth=2.5 if i == order[-1] else 1.2
        )
    for x, (column, height) in enumerate(zip(columns, heights, strict=True)):
        axes.axvline(x, color="#9aa5b3", linewidth=0.8)
        for value, y in sorted(set(zip(column, height, strict=True)), key=lambda pair: pair[1]):
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set_xticks(range(len(columns)), [*(key.rpartition(".")[2] for key in keys), "mAP"])
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(columns) - 0.6)
    axes.spines[:].set_visible(False)
    return figure


def _heights(column: list[Any]) -> list[float]:
    """Heights between 0 and 1: by value for numbers, by sorted order for everything else."""
    numbers = all(isinstance(value, int | float) for value in column)
    places = column if numbers else [sorted(map(str, column)).index(str(value)) for value in column]
    low, high = min(places), max(places)
    return [(value - low) / (high - low) if high > low else 0.5 for value in places]


def _bars(shares: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(5.5, 0.5 * len(shares) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    names = [key.rpartition(".")[2] for key in shares]
    axes.barh(names[::-1], [100 * share for share in shares.values()][::-1], color="#0b6bcb")
    axes.set(xlabel="share of the mAP's variance explained, %", xlim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
