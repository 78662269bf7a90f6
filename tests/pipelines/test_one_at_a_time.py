"""Of two stages that train the same in one working copy, the second says who is at work."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuhs.alone import alone
from cuhs.errors import CuhsError
from pipelines.base import params
from pipelines.base.params import Params, with_values
from pipelines.training import localiser, network
from pipelines.tuning import search
from tests.imports import ROOT


@pytest.fixture
def small(tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters for the tiny dataset, which is in the working folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset").symlink_to(tiny_dataset)
    for name in ("cuhs", "pipelines", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    small = {"image.height": 64, "image.width": 32, "network.streams": {"bn": {"kind": "global"}}}
    return with_values(params.load(ROOT / "params.yaml"), small | {"tune.space": {"train.eta_1": {"choice": [0.1]}}})


@pytest.mark.parametrize(
    ("module", "work", "what"),
    [
        (network, network.train_network, "training"),
        (localiser, localiser.train_localiser, "training"),
        (search, search.search, "search"),
    ],
)
def test_the_second_is_refused_before_it_touches_anything(
    small: Params, module: Any, work: Callable[[Params], None], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_name", lambda *_, **__: "held")
    monkeypatch.setattr(module, "data_version", lambda: "0")
    with (
        alone(Path("runs/held"), what),
        pytest.raises(CuhsError, match=rf"runs/held: another {what} is at work here \(process {os.getpid()} "),
    ):
        work(small)
    assert sorted(path.name for path in Path("runs").rglob("*")) == ["held", "lock"]
    assert not Path("mlflow.db").exists()
