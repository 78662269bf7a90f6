"""``cuhs evaluate --features DIR``, from a folder that is no project."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import rank
from pipelines.commands.evaluate import evaluate_features
from pipelines.evaluation import comparison

ROOT = Path(__file__).parents[3]


def sides() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    centres = random.standard_normal((12, 8))
    result = {}
    for name, count in (("query", 40), ("gallery", 200)):
        pids = random.integers(-1, 12, count)
        features = centres[pids] + 0.9 * random.standard_normal((count, 8))
        result[name] = (features.astype(np.float32), pids, random.integers(0, 3, count))
    return result


def write_arrays(folder: Path) -> None:
    for name, (features, pids, camids) in sides().items():
        np.save(folder / f"{name}.npy", features)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("pid", "camid"), *zip(pids, camids, strict=True)])


def write_parquet(folder: Path) -> None:
    for name, (features, pids, camids) in sides().items():
        columns = {"feature": list(features), "pid": pids, "camid": camids}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.mark.parametrize("write", [write_arrays, write_parquet])
def test_the_measures_are_those_of_ranking_the_arrays(tmp_path: Path, write, capfd: pytest.CaptureFixture) -> None:
    write(tmp_path)
    evaluate_features(tmp_path)
    query, gallery = sides().values()
    expected = rank(Features(*query), Features(*gallery))
    metrics = json.loads((tmp_path / "metrics.json").read_text())["all"]
    assert metrics["mAP"] == round(100 * expected.map(), 3)
    assert metrics["rank1"] == round(100 * expected.rank_at(1), 3)
    assert metrics["queries"] == expected.valid.sum()
    assert metrics["gallery"] == (gallery[1] >= 0).sum()
    assert metrics["mAP_low"] < metrics["mAP"] < metrics["mAP_high"]
    assert f"{metrics['mAP']:.1f}" in capfd.readouterr().err


def test_two_models_features_can_be_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_arrays(tmp_path / name)
    noise = np.random.default_rng(1).standard_normal((200, 8))
    np.save(tmp_path / "b/gallery.npy", sides()["gallery"][0] + 2 * noise)
    for name in ("a", "b"):
        evaluate_features(tmp_path / name)
    a, b = (comparison.read(str(tmp_path / name / "queries.csv")) for name in ("a", "b"))
    ((group, _, difference),) = comparison.compare([a], [b])
    assert group == "all" and difference.mean > 0.1 and difference.p < 0.05


def test_an_image_that_cannot_be_ranked_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    features = np.load(tmp_path / "gallery.npy")
    row = int(np.flatnonzero(sides()["gallery"][1] >= 0)[5])
    features[row, 3] = np.nan
    np.save(tmp_path / "gallery.npy", features)
    with pytest.raises(CuhsError, match=rf"\(row {row} of gallery\.csv\) holds NaN"):
        evaluate_features(tmp_path)


def test_the_command_needs_no_project_and_its_errors_are_one_line(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    command = [sys.executable, "-m", "pipelines.main", "evaluate", "--features", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["all"]["queries"] > 0
    (tmp_path / "gallery.csv").unlink()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: .: needs gallery.parquet, or gallery.npy with gallery.csv\n"
