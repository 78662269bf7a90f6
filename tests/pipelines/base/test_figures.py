"""Figures of earlier stages: missing or damaged, they are one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from cuhs.errors import CuhsError
from pipelines.base.figures import LOCALISER, METRICS


@pytest.mark.parametrize("kind", [METRICS, LOCALISER])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"all": 3, "iou": "much"}', '{"all": {"mAP": []}}', "[" * 10**5]
)
def test_damaged_figures_are_one_line(tmp_path: Path, kind: Any, content: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(CuhsError, match=r"metrics\.json: not the .*; .* \(dvc repro ") as error:
        kind.read(path)
    assert "\n" not in str(error.value)


def test_missing_figures_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match="missing; evaluate the model first"):
        METRICS.read(tmp_path / "metrics.json")


def test_figures_come_back_as_they_were(tmp_path: Path) -> None:
    figures = {"all": {"mAP": 50.5, "mAP_low": None, "queries": 3}}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    found = METRICS.read(tmp_path / "metrics.json")
    assert found == figures and isinstance(found["all"]["queries"], int)
