"""What travels to a cluster and back with a stage."""

from pathlib import Path

import pytest

from pipelines.base import stages

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("pretrain_hsl", ["data/dataset"], ["models/hsl", "reports/hsl.json"]),
        (
            "train",
            ["data/dataset", "models/hsl", "reports/hsl.json"],
            ["models/cuhs", "models/run.json", "reports/training.json"],
        ),
        (
            "evaluate",
            ["data/dataset", "models/cuhs", "models/run.json"],
            [f"reports/{n}" for n in ("queries.csv", "report.html", "run.json", "thresholds.json")]
            + ["reports/metrics.json", "reports/cmc.csv"],
        ),
        ("tune", ["data/dataset", "models/hsl"], ["reports/tuning"]),
    ],
)
def test_data_travels_and_code_does_not(
    name: str, inputs: list[str], outputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    stage = stages.read(name)
    assert [str(path) for path in stage.inputs] == inputs
    assert [str(path) for path in stage.outputs] == outputs
