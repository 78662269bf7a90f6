"""Versions of a model, the champion among them, and what is decided about each."""

import csv
import threading
from pathlib import Path

import numpy as np
import pytest

from cuhs.errors import CuhsError
from pipelines.base import params, paths
from pipelines.evaluation import comparison, registration
from pipelines.tracking import registry as registries
from pipelines.tracking.registry import OVER, VALUE, Registry
from pipelines.tracking.run import Run

PARAMS = Path(__file__).parents[3] / "params.yaml"


def queries(path: Path, shift: float, people: int = 40) -> Path:
    """A table of two queries a person; the average precision of all is moved by ``shift``."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["group", "query", "pid", "camid", "ap", "first_hit"])
        for query in range(2 * people):
            ap = float(np.clip(rng.uniform(0.2, 0.6) + shift, 0, 1))
            rows.writerow(["all", f"made/{query}.jpg", f"made/{query // 2}", "1", ap, 1 if ap > 0.5 else 4])
    return path


def version(registry: Registry, store: Path, value: float, shift: float = 0.0, data: str = "d1") -> int:
    """A registered version whose run holds an evaluation."""
    run = Run.start("exp", "r", {}, {})
    run.artifacts(queries(store / "queries.csv", shift), "evaluation")
    if not registry.client.search_registered_models(f"name = '{registry.name}'"):
        registry.client.create_registered_model(registry.name)
    tags = {VALUE: str(value), registries.DATA_VERSION: data}
    return int(registry.client.create_model_version(registry.name, "file:nowhere", run.id, tags).version)


def test_there_is_no_champion_before_the_first(store: Path) -> None:
    registry = Registry("none")
    assert registry.champion() is None and registry.versions() == []
    number = version(registry, store, 10.0)
    assert registry.champion() is None
    assert registry.promote(number, over=0) == number
    assert registry.champion().number == number
    assert str(registry.champion()) == "version 1 of none"


def test_of_two_found_better_than_the_same_champion_the_higher_value_wins(store: Path) -> None:
    registry = Registry("race")
    first, second, third = (version(registry, store, value) for value in (10.0, 30.0, 20.0))
    registry.promote(first, over=0)
    assert registry.promote(second, over=first) == second
    # The third was compared with the first before the second was promoted.
    assert registry.promote(third, over=first) == second
    assert registry.champion().number == second


def test_challengers_at_once_leave_the_best_as_champion(store: Path) -> None:
    registry = Registry("crowd")
    numbers = [version(registry, store, value) for value in (11.0, 14.0, 12.0, 13.0)]
    threads = [threading.Thread(target=Registry("crowd").promote, args=(n, 0)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert registry.champion().number == numbers[1]


def test_rolling_back_goes_to_the_champion_before_and_keeps_the_reason(store: Path) -> None:
    registry = Registry("back")
    first, second = (version(registry, store, value) for value in (10.0, 20.0))
    registry.promote(first, over=0)
    registry.promote(second, over=first)
    until_now, earlier = registry.roll_back()
    assert (until_now.number, earlier.number, registry.champion().number) == (second, first, first)
    assert registry.version(second).tags[registries.REASON] == "rolled back to version 1"
    # One that is better than the first is not measured by the one that was rolled back.
    third = version(registry, store, 15.0)
    assert registry.promote(third, over=first) == third
    assert OVER not in registry.version(second).tags


def test_what_cannot_be_rolled_back_is_one_line(store: Path) -> None:
    registry = Registry("stuck")
    with pytest.raises(CuhsError, match="stuck: the registry has no champion"):
        registry.roll_back()
    number = version(registry, store, 10.0)
    registry.promote(number, over=0)
    with pytest.raises(CuhsError, match="there is no champion before version 1 of stuck; name one"):
        registry.roll_back()
    with pytest.raises(CuhsError, match="stuck: the registry has no version 9"):
        registry.roll_back(9)


@pytest.fixture
def evaluated(store: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """An evaluation of data version d1, better than :func:`version` without a shift by 0.2."""
    monkeypatch.setattr(paths, "QUERIES", queries(store / "ours.csv", 0.2))
    monkeypatch.setattr(registration, "data_version", lambda: "d1")
    return params.load(PARAMS)


def test_the_first_is_the_champion_without_a_test(evaluated: params.Params) -> None:
    assert registration._judge(evaluated, None) == (True, "the first of its name")


@pytest.mark.parametrize(
    ("shift", "better", "said"),
    [(0.0, True, ": better"), (0.2, False, "not better at p ≤ 0.05"), (0.4, False, "not better at p ≤ 0.05")],
)
def test_better_is_what_the_paired_test_proves(
    store: Path, evaluated: params.Params, shift: float, better: bool, said: str
) -> None:
    registry = Registry(f"judge{int(10 * shift)}")
    registry.promote(version(registry, store, 10.0, shift), over=0)
    decided, reason = registration._judge(evaluated, registry.champion())
    assert decided is better
    assert reason.startswith(f"all/mAP {100 * (0.2 - shift):+.1f} (") or shift == 0.2
    assert said in reason and "against version 1" in reason


def test_another_measure_may_decide(store: Path, evaluated: params.Params) -> None:
    p = params.with_values(evaluated, {"registry.metric": "all/rank1"})
    registry = Registry("rank")
    registry.promote(version(registry, store, 10.0), over=0)
    better, reason = registration._judge(p, registry.champion())
    assert better and reason.startswith("all/rank1 +")


def test_a_group_that_was_not_evaluated_is_one_line(evaluated: params.Params) -> None:
    p = params.with_values(evaluated, {"registry.metric": "black/mAP"})
    with pytest.raises(CuhsError, match=r"black/mAP: the evaluation has no query in .black.; it has all"):
        registration._judge(p, None)


def test_a_champion_of_other_data_is_evaluated_on_this(
    store: Path, evaluated: params.Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry("moved")
    # What it found on its own data would make it better.
    registry.promote(version(registry, store, 90.0, 0.4, data="d0"), over=0)
    here = comparison.read(str(queries(store / "here.csv", 0.0)))
    monkeypatch.setattr(registration, "_evaluate", lambda champion, p, measure: here)
    better, reason = registration._judge(evaluated, registry.champion())
    assert better and reason.startswith("all/mAP +20.0")


def test_a_registry_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CuhsError, match=r"MLFLOW_TRACKING_URI: http://127\.0\.0\.1:9 does not answer"):
        Registry("any").champion()


def test_a_measure_that_is_not_among_those_of_the_report_may_decide_and_an_absent_group_logs_nothing(
    store: Path, evaluated: params.Params
) -> None:
    p = params.with_values(evaluated, {"registry.metric": "red/mAP"})
    with pytest.raises(CuhsError, match=r"registry\.metric: red/mAP: the evaluation has no query in 'red'"):
        registration._asked(p, comparison.read(str(paths.QUERIES)))
