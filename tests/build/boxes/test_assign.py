"""Boxes for people to whom no file gives one, in a build: found by a detector of key points, or the same for all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from cuhs.build.boxes import assign as boxing
from cuhs.build.boxes import detector as keypoint_detector
from cuhs.build.packing import pack
from cuhs.data.shards import read_split
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import Box

Market = Callable[[Path], Source]
Built = Callable[..., dict[str, Any]]
Rows = Callable[..., dict[str, dict[str, Any]]]

QUERY = "query/0003_c1s1_000001_00.jpg"


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A detector that puts a box where the image's first pixel says, or none; returns the sizes of its batches."""
    batches: list[int] = []

    def boxes(images: list[np.ndarray], model: nn.Module) -> list[Box | None]:
        batches.append(len(images))
        corners = [float(image[0, 0, 0] % 8) for image in images]
        return [None if corner < 2 else (corner, -1.0, 12.0, 20.0) for corner in corners]

    monkeypatch.setattr(keypoint_detector, "keypoint_rcnn", lambda weights: nn.Linear(1, 1))
    monkeypatch.setattr(keypoint_detector, "version_of", lambda model: "v1")
    monkeypatch.setattr(keypoint_detector, "keypoint_boxes", boxes)
    monkeypatch.setattr(boxing, "AT_A_TIME", 4)
    return batches


def origins(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    by_origin: dict[str, list[str]] = {}
    for path, row in sorted(found.items()):
        by_origin.setdefault(str(row["box_origin"]), []).append(path)
    return by_origin


def test_people_without_a_box_are_looked_at_and_who_is_not_found_gets_the_fixed_box(
    tmp_path: Path, market: Market, built: Built, rows: Rows, detector: list[int]
) -> None:
    source = market(tmp_path / "raw").model_copy(update={"detector": "coco", "fixed_box": True})
    last: dict[str, tuple[int, int]] = {}
    summary = built({"m": source}, progress=lambda step, done, total: last.update({step: (done, total)}))
    # Of 11 images one is annotated, one is junk and one a distractor.
    assert detector == [4, 4] and last["boxes m"] == (8, 8)
    found = rows()
    by_origin = origins(found)
    assert by_origin["annotation"] == [QUERY] and found[QUERY]["box"] == [0.0, 0.0, 0.5, 0.25]
    assert [path.partition("/")[2][:4] for path in by_origin["None"]] == ["-1_c", "0000"]
    assert len(by_origin["detected"]) + len(by_origin["fixed"]) == 8 and len(by_origin["fixed"]) > 0
    for path in by_origin["detected"]:
        x1, *rest = found[path]["box"]
        assert x1 * 16 in range(2, 8) and rest == [0.0, 0.75, 0.5]
    for path in by_origin["fixed"]:
        assert found[path]["box"] == pytest.approx([0, 0, 1, 1 / 3])
    counted = {
        origin: sum(split[origin] for split in summary["boxes"].values()) for origin in summary["boxes"]["train"]
    }
    assert counted == {
        "annotation": 1,
        "keypoints": 0,
        "detected": len(by_origin["detected"]),
        "fixed": len(by_origin["fixed"]),
        "none": 2,
    }
    page = (tmp_path / "out/dataset.html").read_text()
    assert all(f"<th>{origin}</th>" in page for origin in ("annotation", "detected", "fixed", "none"))
    assert "<th>keypoints</th>" not in page


def test_the_fixed_box_alone_needs_no_detector(
    tmp_path: Path, market: Market, built: Built, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keypoint_detector, "keypoint_rcnn", None)
    built({"m": market(tmp_path / "raw").model_copy(update={"boxes": None, "fixed_box": True})})
    assert {origin: len(paths) for origin, paths in origins(rows()).items()} == {"fixed": 9, "None": 2}


def test_no_detector_is_loaded_where_every_person_has_a_box(
    tmp_path: Path, market: Market, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw")
    people = [
        path.relative_to(source.folder).as_posix() for path in source.folder.glob("*/*.jpg") if path.name[:2] == "00"
    ]
    (source.folder / "boxes.csv").write_text("file,x1,y1,x2,y2\n" + "".join(f"{path},0,0,8,10\n" for path in people))
    monkeypatch.setattr(keypoint_detector, "keypoint_rcnn", None)
    built({"m": source.model_copy(update={"detector": "coco"})})


def test_fixed_boxes_say_nothing_of_the_torso_and_are_not_unusual(
    tmp_path: Path, market: Market, built: Built, rows: Rows
) -> None:
    source = market(tmp_path / "raw").model_copy(update={"boxes": None, "classify": True})
    built({"m": source}, "none")
    summary = built({"m": source.model_copy(update={"fixed_box": True})}, "fixed")
    assert summary["unusual_boxes"] == []
    without, given = rows("none"), rows("fixed")
    assert any(row["colour_confidence"] for row in given.values())
    for path, row in given.items():
        assert row["colour_confidence"] == without[path]["colour_confidence"]


class Killed(BaseException):
    """As a signal would end the process: nothing catches it."""


def test_images_that_the_detector_has_seen_are_not_shown_to_it_again(
    tmp_path: Path, market: Market, built: Built, detector: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw").model_copy(update={"detector": "coco"})
    look = keypoint_detector.keypoint_boxes

    def dies(images: list[np.ndarray], model: nn.Module) -> list[Box | None]:
        if len(detector) == 1:
            raise Killed
        return look(images, model)

    monkeypatch.setattr(keypoint_detector, "keypoint_boxes", dies)
    with pytest.raises(Killed):
        built({"m": source})
    monkeypatch.setattr(keypoint_detector, "keypoint_boxes", look)

    def not_filled(function: Callable, tasks: list) -> Any:
        if function is pack:
            raise Killed
        return map(function, tasks)

    with pytest.raises(Killed):
        built({"m": source}, mapper=not_filled)
    assert detector == [4, 4]
    (journal,) = (tmp_path / "out.unfinished").glob("*/detected.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    built({"m": source})
    assert detector == [4, 4, 4]
    built({"m": source}, "undisturbed")
    for split in ("train", "query", "gallery"):
        assert read_split(tmp_path / "out", split).equals(read_split(tmp_path / "undisturbed", split))


def test_another_detector_looks_again(
    tmp_path: Path, market: Market, built: Built, detector: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw").model_copy(update={"detector": "coco"})

    def not_filled(function: Callable, tasks: list) -> Any:
        if function is pack:
            raise Killed
        return map(function, tasks)

    for version, batches in (("v1", 2), ("v1", 2), ("v2", 4)):
        monkeypatch.setattr(keypoint_detector, "version_of", lambda model, version=version: version)
        with pytest.raises(Killed):
            built({"m": source}, mapper=not_filled)
        assert len(detector) == batches


def test_weights_that_are_not_there_stop_the_build_before_any_image_is_opened(
    tmp_path: Path, market: Market, built: Built
) -> None:
    steps: list[str] = []
    with pytest.raises(CuhsError) as caught:
        built(
            {"m": market(tmp_path / "raw").model_copy(update={"detector": str(tmp_path / "w.pth")})},
            progress=lambda step, done, total: steps.append(step),
        )
    assert str(caught.value).startswith(f"data.sources.m.detector: {tmp_path / 'w.pth'}: no such weights file")
    assert "\n" not in str(caught.value) and "fixed_box: true" in str(caught.value)
    assert steps == [] and not (tmp_path / "out.unfinished").exists()
