import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cuhs.build.unusual_boxes import unusual
from cuhs.errors import CuhsError
from cuhs.raw.head_shoulder_boxes import RawBoxes, normalise
from cuhs.raw.keypoints import MARKET_FILES, coco_box, market_box, read_coco_boxes, read_market_boxes

REAL = os.environ.get("CUHS_REAL_DATA")
real = pytest.mark.skipif(not REAL, reason="CUHS_REAL_DATA names no folder of real data")


def person(
    face_y: float = 10, shoulders_y: float = 20, left: float = 40, right: float = 20, v: float = 2
) -> np.ndarray:
    """COCO's 17 points: the face at x = 33, the shoulders, and nothing else."""
    points = np.zeros((17, 3))
    points[:5] = (33, face_y, v)
    points[5], points[6] = (left, shoulders_y, v), (right, shoulders_y, v)
    return points


def test_a_front_view_gives_the_box_of_the_rule() -> None:
    # s = 20 + 1.2 · 10 - 10 = 22 from the top of the head at -2; d = 20; centre a sixth of the way from 30 to 33.
    half = (0.8 * 22 + 0.6 * 20) / 2
    assert coco_box(person()) == pytest.approx((30.5 - half, -2, 30.5 + half, 20 + 0.27 * 22))


def test_a_side_view_keeps_a_width() -> None:
    box = coco_box(person(left=33, right=33))
    assert box
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(0.8 / 1.27)
    assert (box[0] + box[2]) / 2 == pytest.approx(33)


@pytest.mark.parametrize("missing", [5, 6, slice(0, 5)])
def test_without_both_shoulders_and_a_point_of_the_face_there_is_no_box(missing: int | slice) -> None:
    points = person()
    points[missing, 2] = 0
    assert coco_box(points) is None


def test_one_point_of_the_face_is_enough_and_hidden_points_count() -> None:
    points = person()
    points[1:5, 2] = 0
    points[:, 2] = points[:, 2].clip(max=1)
    assert coco_box(points) == coco_box(person())


def test_points_of_low_confidence_are_left_out() -> None:
    assert coco_box(person(v=0.31)) == coco_box(person())
    assert coco_box(person(v=0.29)) is None


@pytest.mark.parametrize(
    "points",
    [person(face_y=20), person(face_y=30), person(left=70, right=10), person(left=90, right=70)],
    ids=["head level with the shoulders", "head below them", "shoulders too far apart", "head far aside"],
)
def test_a_body_that_is_not_upright_has_no_box(points: np.ndarray) -> None:
    assert coco_box(points) is None


def test_market_points_give_a_box_that_starts_above_the_skull() -> None:
    points = np.zeros((14, 2))
    points[0], points[2], points[5] = (30, 5), (20, 25), (40, 25)
    half = (0.8 * 22 + 0.6 * 20) / 2
    assert market_box(points) == pytest.approx((30 - half, 3, 30 + half, 25 + 0.27 * 22))


def coco(path: Path, images: dict[int, str], people: list[tuple[int, np.ndarray, float | None]]) -> Path:
    annotations: list[dict[str, Any]] = [
        {"image_id": image, "category_id": 1, "keypoints": points.ravel().tolist()}
        | ({} if score is None else {"score": score})
        for image, points, score in people
    ]
    content = {"images": [{"id": key, "file_name": name} for key, name in images.items()], "annotations": annotations}
    path.write_text(json.dumps(content))
    return path


IMAGES = ("a/1.jpg", "a/2.jpg", "b/1.jpg")


def test_a_coco_file_gives_boxes_by_path_and_by_bare_name(tmp_path: Path) -> None:
    path = coco(
        tmp_path / "p.json",
        {1: "a/1.jpg", 2: "2.jpg", 3: "b/1.jpg", 4: "gone.jpg"},
        [(1, person(), None), (2, person(shoulders_y=22), None), (3, person(v=0), None), (4, person(), None)],
    )
    expected = {"a/1.jpg": coco_box(person()), "a/2.jpg": coco_box(person(shoulders_y=22))}
    assert read_coco_boxes(path, IMAGES) == RawBoxes(expected, ["gone.jpg"])


def test_key_points_in_0_to_1_are_no_pixels(tmp_path: Path) -> None:
    points = person()
    points[:, :2] /= 200
    path = coco(tmp_path / "p.json", {1: "a/1.jpg"}, [(1, points, None)])
    with pytest.raises(CuhsError, match=r"p\.json: no number is above 1, so these are no pixels; multiply them by"):
        read_coco_boxes(path, IMAGES)


def test_of_several_people_the_surest_is_taken_then_who_has_most_points_then_the_largest(tmp_path: Path) -> None:
    small, large, partial = person(), person(face_y=20, shoulders_y=60, left=60), person(shoulders_y=90)
    partial[1:3, 2] = 0
    path = coco(
        tmp_path / "p.json",
        {1: "a/1.jpg", 2: "a/2.jpg", 3: "b/1.jpg"},
        [
            *((1, large, 0.4), (1, small, 0.9), (1, large, 0.7)),
            *((2, partial, None), (2, small, None)),
            *((3, small, None), (3, large, None), (3, person(v=0), None)),
        ],
    )
    assert read_coco_boxes(path, IMAGES).by_path == {
        "a/1.jpg": coco_box(small),
        "a/2.jpg": coco_box(small),
        "b/1.jpg": coco_box(large),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not COCO's person_keypoints form (the file: Invalid JSON"),
        ("[]", "not COCO's person_keypoints form (the file: "),
        ('{"images": []}', "not COCO's person_keypoints form (annotations: Field required)"),
        (
            '{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2, 2]}]}',
            "not COCO's person_keypoints form (annotations.0.keypoints: List should have at least 51 items",
        ),
        (
            json.dumps({"images": [], "annotations": [{"image_id": 7, "keypoints": [0] * 51}]}),
            "annotations have image_id 7, which is not among the file's images",
        ),
        (
            '{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}',
            "image 1: 1.jpg may be a/1.jpg or b/1.jpg",
        ),
        (
            '{"images": [{"id": 1, "file_name": "2.jpg"}, {"id": 2, "file_name": "a/2.jpg"}], "annotations": []}',
            "image 2: a/2.jpg has a box already",
        ),
        ('{"images": [{"id": 1, "file_name": "c.jpg"}], "annotations": []}', "no row names an image of the source"),
    ],
)
def test_a_wrong_coco_file_is_named_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(CuhsError, match=rf"p\.json[:,] {re.escape(message)}") as caught:
        read_coco_boxes(path, IMAGES)
    assert "\n" not in str(caught.value)


def test_a_missing_coco_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"p\.json: no such annotation file"):
        read_coco_boxes(tmp_path / "p.json", IMAGES)


def market_files(folder: Path, rows: dict[str, list[np.ndarray]]) -> Path:
    for subfolder, name in MARKET_FILES.items():
        table = np.array([np.r_[row[:, 0], row[:, 1]] for row in rows.get(subfolder, [])]).reshape(-1, 28)
        with h5py.File(folder / name, "w") as file:
            file["pp"] = table + 0.5
    return folder


def body(x: float) -> np.ndarray:
    points = np.zeros((14, 2))
    points[0], points[2], points[5] = (x, 5), (x - 10, 25), (x + 10, 25)
    return points


def test_market_rows_belong_to_the_sorted_names_of_each_folder(tmp_path: Path) -> None:
    fallen = body(30)
    fallen[0, 1] = 40
    folder = market_files(
        tmp_path, {"bounding_box_train": [body(20), body(30)], "query": [fallen], "bounding_box_test": [body(40)]}
    )
    images = [
        "query/0003.jpg",
        "bounding_box_train/0002.jpg",
        "bounding_box_train/0001.jpg",
        "bounding_box_test/-1.jpg",
    ]
    boxes = read_market_boxes(folder, images)
    assert boxes.unmatched == []
    assert boxes.by_path == {
        "bounding_box_train/0001.jpg": market_box(body(20)),
        "bounding_box_train/0002.jpg": market_box(body(30)),
        "bounding_box_test/-1.jpg": market_box(body(40)),
    }


def test_a_market_file_that_would_expand_to_gigabytes_is_not_read(tmp_path: Path) -> None:
    folder = market_files(tmp_path, {"query": [body(20)]})
    with h5py.File(folder / MARKET_FILES["bounding_box_train"], "w") as file:
        file.create_dataset("pp", shape=(28, 2**30), dtype="f8", chunks=(28, 1024), compression="gzip")
    with pytest.raises(CuhsError, match=r"14point_train\.mat: not Market-1501's key points as published"):
        read_market_boxes(folder, ["query/1.jpg"])


def test_market_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"14point_train\.mat: no such annotation file"):
        read_market_boxes(tmp_path, [])
    folder = market_files(tmp_path, {"query": [body(20)]})
    with pytest.raises(CuhsError, match=r"14point_query\.mat: 1 rows, but query/ has 2 images"):
        read_market_boxes(folder, ["query/1.jpg", "query/2.jpg"])
    (tmp_path / MARKET_FILES["query"]).write_bytes(b"MATLAB 5.0")
    with pytest.raises(CuhsError, match=r"14point_query\.mat: not Market-1501's key points as published"):
        read_market_boxes(folder, [])
    with h5py.File(tmp_path / MARKET_FILES["query"], "w") as file:
        file["pp"] = np.zeros((3, 4))
    with pytest.raises(CuhsError, match=r"14point_query\.mat: not Market-1501's key points as published"):
        read_market_boxes(folder, [])


@real
def test_the_published_points_of_market_1501_give_boxes_like_the_annotated_ones() -> None:
    # There are no images: as many names as the published folders have.
    counts = {"bounding_box_train": 12_936, "query": 3_368, "bounding_box_test": 19_732}
    images = [f"{folder}/{number:05d}.jpg" for folder, count in counts.items() for number in range(count)]
    pixels = read_market_boxes(Path(REAL or "") / "market1501_annotations", images).by_path
    assert Counter(path.partition("/")[0] for path in pixels) == {
        "bounding_box_train": 12_081,
        "query": 3_276,
        "bounding_box_test": 16_515,
    }
    boxes = {path: normalise(box, 64, 128) for path, box in pixels.items()}
    assert None not in boxes.values()
    train = np.array([box for path, box in boxes.items() if path.startswith("bounding_box_train")])
    # A quarter of the image's height, since a person fills seven eighths of a crop here; in the middle, at the top.
    assert np.median(train, axis=0) == pytest.approx([0.205, 0.011, 0.775, 0.260], abs=0.001)
    assert len(unusual(train)) < 0.07 * len(train)
