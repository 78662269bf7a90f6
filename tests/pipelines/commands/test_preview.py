import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cuhs.raw.config import Source
from cuhs.raw.records import RawImage
from pipelines.base import console as base_console
from pipelines.commands import preview

ROOT = Path(__file__).parents[3]

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c2s1_000451_03.jpg",
    "bounding_box_test/-1_c3s1_000001_01.jpg",
    "bounding_box_test/0000_c6s4_000002_01.jpg",
    "bounding_box_test/0001_c1s1_000003_01.jpg",
    "query/0001_c2s1_000301_00.jpg",
)


def touch(root: Path, *names: str) -> Path:
    """Empty files: a preview opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def printed(monkeypatch: pytest.MonkeyPatch, source: str, files: Source, width: int = 160) -> list[list[str]]:
    """Lines of the preview as lists of cells, which two spaces part."""
    console = Console(width=width, markup=False, emoji=False)  # as ours is
    monkeypatch.setattr(preview, "console", console)
    monkeypatch.setattr(base_console, "console", console)
    with console.capture() as capture:
        preview.preview(source, files)
    return [re.split(r"\s{2,}", line.strip()) for line in capture.get().splitlines()]


def test_images_are_shown_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "market", *MARKET, "query/hall [2].jpg", "query/[x].heic")
    (tmp_path / "labels.csv").write_text("pid,colour\n1,black\n")
    (tmp_path / "boxes.csv").write_text(f"file,x1,y1,x2,y2\n{MARKET[0]},0,0,4,4\ngone.jpg,0,0,4,4\n")
    files = Source(
        classify=False,
        layout="market1501",
        folder=tmp_path / "market",
        clothing=tmp_path / "labels.csv",
        boxes=tmp_path / "boxes.csv",
    )
    rows = printed(monkeypatch, "m", files)
    assert [MARKET[0], "0002", "1", "train", "–", "annotation"] in rows
    assert [MARKET[2], "-1 junk", "3", "gallery", "–", "no"] in rows
    assert [MARKET[3], "0000 distractor", "6", "gallery", "–", "no"] in rows
    assert [MARKET[5], "0001", "2", "query", "black", "no"] in rows
    assert ["train", "2", "2", "2", "0", "1"] in rows
    assert ["query", "1", "1", "1", "1", "0"] in rows
    assert ["gallery", "3", "1", "3", "1", "0"] in rows
    assert ["all", "6", "3", "4", "1", "1"] in rows
    assert ["note: 1 images have names that do not fit the layout: query/hall [2].jpg"] in rows
    assert ["note: 2 identities have no label and count as other"] in rows
    assert ["note: 1 files are read by nobody (1 .heic), the first m/query/[x].heic"] in rows
    assert any(row[0].startswith("m: bounding_box_test/ (gallery) 3 images of 1 identities, ") for row in rows)
    assert [f"note: 1 rows of {files.boxes} name no image of the source: gone.jpg"] in rows


def test_in_80_columns_only_names_of_files_take_several_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "market1501", *MARKET)
    files = Source(layout="market1501", folder=tmp_path / "market1501", detector="coco")
    rows = printed(monkeypatch, "market1501", files, width=80)
    assert ["-1 junk", "3", "gallery", "–", "no"] in [row[1:] for row in rows]
    assert ["0000 distractor", "6", "gallery", "–", "no"] in [row[1:] for row in rows]
    assert ["train", "2", "2", "2", "0", "0"] in rows


def test_what_is_not_known_is_a_dash_and_what_it_means_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = touch(tmp_path / "[", "x]/ann1.jpg", "x]/ann2.jpg") / "x]"  # no markup
    rows = printed(
        monkeypatch, "own", Source(classify=False, layout="pattern", folder=folder, pattern=r"(?P<pid>[a-z]+)\d")
    )
    assert ["ann1.jpg", "ann", "–", "drawn", "–", "no"] in rows
    assert ["drawn", "2", "1", "0", "0", "0"] in rows
    assert ["note: no cameras: every image of a person can match every other image of theirs"] in rows


def test_what_the_build_will_add_is_told_for_people_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "market", *MARKET)
    (tmp_path / "labels.csv").write_text("pid,colour\n1,black\n")
    files = Source(
        layout="market1501",
        folder=tmp_path / "market",
        clothing=tmp_path / "labels.csv",
    )
    boxes = {
        "detected": files.model_copy(update={"detector": "coco"}),
        "fixed": files.model_copy(update={"fixed_box": True}),
        "detected or fixed": files.model_copy(update={"detector": "coco", "fixed_box": True}),
    }
    for text, asked in boxes.items():
        rows = printed(monkeypatch, "m", asked)
        assert [MARKET[0], "0002", "1", "train", "–", text] in rows
        assert [MARKET[2], "-1 junk", "3", "gallery", "–", "no"] in rows
        assert ["note: 2 identities have no label and are given a colour by the classifier"] in rows


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ({"train": 100, "query": 10, "gallery": 30}, {"train": 2, "query": 3, "gallery": 3}),
        ({"train": 100, "query": 1}, {"train": 4, "query": 1}),
        ({None: 100}, {None: 8}),
        ({"train": 3}, {"train": 3}),
    ],
)
def test_examples_come_from_all_over_every_split(sizes: dict, shown: dict) -> None:
    images = [RawImage(f"{split}/{n:03d}.jpg", n + 1, 1, split) for split, size in sizes.items() for n in range(size)]
    chosen = preview.spread(images)
    assert {split: sum(image.split == split for image in chosen) for split in sizes} == shown
    assert len(set(chosen)) == len(chosen)
    for split, size in sizes.items():
        places = [image.pid - 1 for image in chosen if image.split == split]
        assert places[0] == 0 and (len(places) == 1 or places[-1] >= size // 2)


def command(folder: Path, source: dict[str, object]) -> subprocess.CompletedProcess[str]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] = {"name": "own", "raw": "raw", "sources": {"own": source}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CUHS_")}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.main", "build", "--preview"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_builds_nothing_and_succeeds(tmp_path: Path) -> None:
    touch(tmp_path / "raw/own", "7_c1.jpg", "7_c2.jpg")
    done = command(tmp_path, {"layout": "pattern", "folder": "own", "pattern": r"(?P<pid>\d+)_c(?P<camid>\d)"})
    assert done.returncode == 0, done.stderr
    assert "7_c1.jpg" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    touch(tmp_path / "raw/own", "7_c1.jpg")
    done = command(tmp_path, {"layout": "pattern", "folder": "own", "pattern": "(?P<pid"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: pattern '(?P<pid' is no regular expression")
    assert done.stderr.count("\n") == 1
