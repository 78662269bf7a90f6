"""Pictures of a search, and which parameter is said to matter."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.tuning import figures as tuning_figures

SPACE = {"a.top_k": {"integers": [0, 9]}, "b.eta_1": {"loguniform": [0.1, 10.0]}, "c.loss": {"choice": ["x", "y"]}}


def trials(count: int = 24) -> list[tuple[dict, float]]:
    """Trials whose score follows top_k alone."""
    rng = np.random.default_rng(0)
    values = [
        {
            "a.top_k": int(rng.integers(0, 10)),
            "b.eta_1": float(10 ** rng.uniform(-1, 1)),
            "c.loss": str(rng.choice(["x", "y"])),
        }
        for _ in range(count)
    ]
    return [(one, 3.0 * one["a.top_k"]) for one in values]


def test_the_parameter_that_matters_comes_first() -> None:
    shares = tuning_figures.importance(SPACE, trials())
    assert next(iter(shares)) == "a.top_k" and shares["a.top_k"] > 0.8
    assert abs(sum(shares.values()) - 1) < 1e-6


def test_two_pictures_are_drawn_and_one_where_trials_are_too_few(tmp_path: Path) -> None:
    tuning_figures.draw(tmp_path, SPACE, trials())
    for name in ("parallel_coordinates.png", "importance.png"):
        assert Image.open(tmp_path / name).width > 400
    (tmp_path / "few").mkdir()
    tuning_figures.draw(tmp_path / "few", SPACE, trials(1))
    assert [path.name for path in (tmp_path / "few").iterdir()] == ["parallel_coordinates.png"]
