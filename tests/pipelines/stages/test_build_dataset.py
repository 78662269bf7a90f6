import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cuhs.data.shards import read_split, read_summary

ROOT = Path(__file__).parents[3]


def workspace(folder: Path, **data: object) -> Path:
    """A project folder with raw images of three people, and a params.yaml that builds them."""
    for pid in (1, 2, 3):
        for view in (1, 2):
            for index in (1, 2):
                path = folder / f"raw/cuhk/images_labeled/1_{pid:03d}_{view}_{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 40), (60 * pid, 80 * view, 90 * index)).save(path)
    (folder / "raw/labels").mkdir()
    (folder / "raw/labels/clothing.csv").write_text("pid,colour\n1,black\n2,white\n")
    (folder / "raw/labels/boxes.csv").write_text("file,x1,y1,x2,y2\n1_001_1_01.png,0,0,8,10\n")
    source = {
        "layout": "cuhk03",
        "folder": "cuhk",
        "clothing": "labels/clothing.csv",
        "boxes": "labels/boxes.csv",
    }
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] = {"name": "small", "raw": "raw", "test_share": 1.0, "sources": {"cuhk03": source}} | data
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def stage(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CUHS_")}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.stages.build_dataset"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_stage_builds_what_params_say_and_prints_the_counts(tmp_path: Path) -> None:
    done = stage(workspace(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = read_summary(tmp_path / "data/dataset")
    assert summary["name"] == "small"
    assert summary["splits"]["query"] == {"ids": 3, "images": 6}
    boxes = {row["path"]: row["box"] for row in read_split(tmp_path / "data/dataset", "query").to_pylist()}
    boxes |= {row["path"]: row["box"] for row in read_split(tmp_path / "data/dataset", "gallery").to_pylist()}
    assert boxes["images_labeled/1_001_1_01.png"] == [0.0, 0.0, 0.5, 0.25]
    assert "query #id" in done.stderr and "cuhk03" in done.stderr
    assert (tmp_path / "data/dataset/dataset.html").is_file()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"sources": {"x": {"layout": "market1501", "folder": "cuhk"}}},
            "the folder looks like layout: cuhk03",
        ),
        ({"sources": {"x": {"layout": "cuhk03", "folder": "gone"}}}, "raw/gone: no such folder"),
        (
            {"sources": {"x": {"layout": "cuhk03", "folder": "cuhk", "detector": "rcnn.pth"}}},
            "data.sources.x.detector: raw/rcnn.pth: no such weights file",
        ),
        ({"test_share": 0.0}, "data.test_share"),
        ({"raw": "elsewhere"}, "elsewhere/cuhk: no such folder"),
        ({"protocol": "market"}, "data.protocol"),
        ({"identities": "labels/people.csv"}, "raw/labels/people.csv: no such annotation file"),
        ({"allow": ["everything"]}, "data.allow.0"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_exit_code_2(tmp_path: Path, data: dict, message: str) -> None:
    failed = stage(workspace(tmp_path, **data))
    assert failed.returncode == 2
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "data/dataset").exists()
