"""Registers an evaluated model as a version in MLflow's registry, and makes it the champion if it is better.

Better means better on the same queries, by a paired t-test over identities, in the metric that ``registry.metric``
names.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

import cuhs
from cuhs.errors import CuhsError
from cuhs.export import load
from pipelines import tracking
from pipelines.base import paths
from pipelines.base.console import console
from pipelines.base.figures import METRICS
from pipelines.base.params import Params
from pipelines.base.versions import data_version, file_version
from pipelines.evaluation import comparison
from pipelines.evaluation.evaluation import evaluated
from pipelines.evaluation.tables import THRESHOLDS, write_queries
from pipelines.tracking.mlflow_store import does_not_answer, line, uri
from pipelines.tracking.registry import CHAMPION, DATA_VERSION, DECISION, MODEL, REASON, VALUE, Registered, Registry
from pipelines.tracking.run import Run, send_left

# The packages that the model's code imports; MLflow installs these versions to serve the model.
NEEDED = ("torch", "torchvision", "numpy", "pillow", "pydantic", "safetensors")

# A decision in a sentence: "version 2 is …".
STANDING = {CHAMPION: "the champion", "challenger": "a challenger"}

log = logging.getLogger(__name__)


def register(p: Params) -> None:
    """Register ``models/cuhs`` with its last evaluation, decide, and write ``reports/registration.json``.

    Raises:
        CuhsError: the registry does not answer, the evaluation is missing, or it cannot be compared.
    """
    with _answering():
        _register(p, Registry(p.registry.model))


def foretell(p: Params) -> None:
    """Print what :func:`register` would decide.

    Raises:
        CuhsError: as for :func:`register`.
    """
    with _answering():
        registry = Registry(p.registry.model)
        known = _known(registry, Run.read(paths.EVALUATION_RUN).id)
        if known and DECISION in known.tags:
            console.print(f"{known} is registered already, as {known.tags[DECISION]}: {known.tags[REASON]}")
            return
        better, reason = _judge(p, registry.champion())
        console.print(f"would {'be the champion' if better else 'stay a challenger'}: {reason}", highlight=False)


def roll_back(p: Params, version: int | None) -> None:
    """Make an earlier version the champion again; by default the previous champion.

    Raises:
        CuhsError: the registry does not answer, or there is no such version.
    """
    with _answering():
        until_now, champion = Registry(p.registry.model).roll_back(version)
        console.print(f"{champion} is the champion now; {until_now} no longer is", highlight=False)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise does_not_answer(error) from error


def _register(p: Params, registry: Registry) -> None:
    send_left()
    run = Run.read(paths.EVALUATION_RUN)
    if why := run.missing():
        raise CuhsError(f"{paths.EVALUATION_RUN}: {why}")
    assert run.id is not None
    registered = _known(registry, run.id) or _log(p, registry, run.id)
    if DECISION not in registered.tags:
        _decide(p, registry, registered)
        registered = registry.version(registered.number)
    champion = registry.champion()
    decision, reason = registered.tags[DECISION], registered.tags[REASON]
    about = {
        "model": registry.name,
        "version": registered.number,
        "decision": decision,
        "reason": reason,
        "champion": champion and champion.number,
    }
    paths.REGISTRATION.write_text(json.dumps(about, indent=2) + "\n")
    console.print(f"{registered} is {STANDING.get(decision, decision)}: {reason}", highlight=False, soft_wrap=True)


def _known(registry: Registry, run_id: str | None) -> Registered | None:
    """The version of the evaluated weights, if they are registered already."""
    weights = _weights()
    versions = (v for v in registry.versions() if v.version.run_id == run_id and v.tags.get(MODEL) == weights)
    return next(versions, None)


def _weights() -> str:
    path = paths.MODEL / "model.safetensors"
    if not path.is_file():
        raise CuhsError(f"{path}: missing; train the model first (dvc repro)")
    return file_version(path)


def _decide(p: Params, registry: Registry, challenger: Registered) -> None:
    champion = registry.champion()
    better, reason = _judge(p, champion)
    if better:
        over = champion.number if champion else 0
        winner = registry.promote(challenger.number, over)
        if winner != challenger.number:
            better = False
            reason += f"; but version {winner}, promoted over version {over} too, has the higher {p.registry.metric}"
    registry.tag(challenger.number, {DECISION: CHAMPION if better else "challenger", REASON: reason})


def _judge(p: Params, champion: Registered | None) -> tuple[bool, str]:
    """Whether the evaluated model is better than the champion, and why."""
    metric, (group, measure) = p.registry.metric, p.registry.metric.split("/")
    ours = _asked(p, comparison.read(str(paths.QUERIES), measure))
    if champion is None:
        return True, "the first of its name"
    theirs = _queries_of(champion, p, measure)
    differences = {name: difference for name, _, difference in comparison.compare([ours], [theirs])}
    if group not in differences:
        raise CuhsError(f"registry.metric: {metric}: too few identities in {group!r} to compare with {champion}")
    found = differences[group]
    better = bool(found.mean > 0 and found.p <= p.registry.p)
    return better, (
        f"{metric} {100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}, p = {found.p:.4f}) "
        f"against {champion}: {'better' if better else f'not better at p ≤ {p.registry.p:g}'}"
    )


def _asked(p: Params, queries: comparison.Queries) -> comparison.Queries:
    """The queries, which have some in the group of ``registry.metric``."""
    group = p.registry.metric.split("/")[0]
    if not queries.get(group):
        raise CuhsError(
            f"registry.metric: {p.registry.metric}: the evaluation has no query in {group!r}; it has "
            f"{', '.join(queries)}"
        )
    return queries


def _queries_of(champion: Registered, p: Params, measure: str) -> comparison.Queries:
    """The champion's results on this data by query, from its stored evaluation or by evaluating its weights again."""
    if champion.tags.get(DATA_VERSION) == data_version():
        try:
            return comparison.read(champion.run_id, measure)
        except CuhsError:
            log.warning(
                "%s: its run %s holds no evaluation any more; it is evaluated again", champion, champion.run_id
            )
    else:
        log.info("%s was evaluated on other data; it is evaluated on this data now", champion)
    try:
        return _evaluate(champion, p, measure)
    except (MlflowException, OSError, CuhsError) as error:
        raise CuhsError(
            f"{champion}, the champion, has lost its evaluation or its weights ({line(error)}), so nothing can be "
            "compared with it; name another champion with: cuhs register --rollback VERSION"
        ) from error


def _evaluate(registered: Registered, p: Params, measure: str) -> comparison.Queries:
    with tempfile.TemporaryDirectory() as folder:
        model, card = load(registered.download(Path(folder)))
        found = evaluated(model, card, p)
        path = Path(folder) / "queries.csv"
        write_queries(path, found.groups, found.features["query"])
        return comparison.read(str(path), measure)


def _log(p: Params, registry: Registry, run_id: str) -> Registered:
    """Log the model with its thresholds and metrics, and create its version in the registry."""
    metrics, thresholds = METRICS.read(paths.METRICS), THRESHOLDS.read(paths.THRESHOLDS)
    group, measure = p.registry.metric.split("/")
    # Before anything is logged: a metric that nobody has would leave half a registration.
    values = [value for _, value in _asked(p, comparison.read(str(paths.QUERIES), measure))[group].values()]
    mlflow.set_tracking_uri(uri())
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # MLflow warns that type hints and an example are missing, but needs them only to guess a signature.
        warnings.simplefilter("ignore")
        logged: Any = mlflow.pyfunc.log_model(
            name="cuhs",
            python_model=str(Path(tracking.__file__).with_name("served_model.py")),
            artifacts={"model": str(paths.MODEL), "thresholds": str(paths.THRESHOLDS)},
            code_paths=[str(Path(cuhs.__file__).parent)],
            signature=_signature(),
            pip_requirements=[f"{name}=={installed(name).partition('+')[0]}" for name in NEEDED],
            metadata={"thresholds": thresholds},
        )
    flat = {f"{name}/{key}": value for name, values in metrics.items() for key, value in values.items()}
    now = mlflow.get_run(run_id).info.end_time
    entries = [Metric(k, float(v), now, 0, model_id=logged.model_id) for k, v in flat.items() if v is not None]
    registry.client.log_batch(run_id, metrics=entries)
    tags = {
        MODEL: _weights(),
        DATA_VERSION: data_version(),
        VALUE: f"{100 * sum(values) / len(values):.3f}",
        "cuhs.metric": p.registry.metric,
        "cuhs.variant": p.variant,
        "cuhs.profile": p.profile,
    }
    made = mlflow.register_model(logged.model_uri, registry.name, tags=tags)
    return registry.version(int(made.version))


def _signature() -> ModelSignature:
    model, _ = load(paths.MODEL)
    width = sum(model.widths.values())
    return ModelSignature(
        inputs=Schema([ColSpec("binary", "image")]), outputs=Schema([TensorSpec(np.dtype("float32"), (-1, width))])
    )
