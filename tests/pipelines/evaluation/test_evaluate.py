"""The champion that an evaluation is compared with."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.base import params
from pipelines.evaluation import evaluate
from pipelines.tracking.registry import DATA_VERSION

PARAMS = Path(__file__).parents[3] / "params.yaml"


def champion(data: str) -> SimpleNamespace:
    return SimpleNamespace(tags={DATA_VERSION: data}, run_id="0123")


@pytest.mark.parametrize(("data", "compared"), [("d1", True), ("d0", False), (None, False)])
def test_the_champion_of_the_same_data_is_compared_with(
    data: str | None, compared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "data_version", lambda: "d1")
    monkeypatch.setattr(evaluate, "Registry", lambda name: SimpleNamespace(champion=lambda: data and champion(data)))
    monkeypatch.setattr(evaluate.comparison, "read", {"0123": {"all": {"q": ("1", 0.5)}}}.__getitem__)
    found = evaluate._champion(params.load(PARAMS))
    assert list(found.values()) == ([{"all": {"q": ("1", 0.5)}}] if compared else [])


def test_without_a_registry_an_evaluation_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert evaluate._champion(params.load(PARAMS)) == {}
    assert "not compared with the champion: MLFLOW_TRACKING_URI" in caplog.text
