import re
from pathlib import Path

import pytest

from cuhs.data.clothing import read_colours
from cuhs.data.head_shoulder_boxes import fixed_box, normalise, read_boxes
from cuhs.errors import CuhsError


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_colours_are_read_by_identity_with_blanks_and_extra_columns(tmp_path: Path) -> None:
    path = csv(tmp_path, "\ufeffpid,colour,note", "1, black ,x", "0002,white,", "", "7,other,")
    assert read_colours(path, {1, 2, 7, 9}) == {1: "black", 2: "white", 7: "other"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["pid,color", "1,black"], "no column colour; the header must be pid,colour"),
        ([""], "no column pid, colour"),
        (["pid,colour", "1,black", "2,grey"], "row 3: colour 'grey' is not one of black, white, other"),
        (["pid,colour", "1,black", "1,black"], "row 3: identity 1 has a label already"),
        (["pid,colour", "1,black", "99,white"], "row 3: identity 99 has no image in the source"),
        (["pid,colour", "one,black"], "row 2: pid 'one' is not a number"),
        (["pid,colour", "1"], "row 2: a value is missing"),
    ],
)
def test_bad_clothing_row_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CuhsError, match=rf"labels\.csv.*{re.escape(message)}") as caught:
        read_colours(csv(tmp_path, *lines), {1, 2})
    assert "\n" not in str(caught.value)


def test_missing_and_binary_label_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"labels\.csv: no such annotation file"):
        read_colours(tmp_path / "labels.csv", {1})
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CuhsError, match=r"labels\.csv: not a readable CSV file"):
        read_colours(tmp_path / "labels.csv", {1})


IMAGES = ("a/1.jpg", "a/2.jpg", "b/1.jpg")
HEADER = "file,x1,y1,x2,y2"


def test_boxes_are_found_by_path_and_by_unambiguous_bare_name(tmp_path: Path) -> None:
    boxes = read_boxes(csv(tmp_path, HEADER, "a/1.jpg,1,2,3,4", "2.jpg,0,0,9.5,9", "gone.jpg,0,0,1,1"), IMAGES)
    assert boxes.by_path == {"a/1.jpg": (1, 2, 3, 4), "a/2.jpg": (0, 0, 9.5, 9)}
    assert boxes.unmatched == ["gone.jpg"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,x,y", "a/1.jpg,1,2"], "no column x1, y1, x2, y2"),
        ([HEADER, "a/1.jpg,1,2,x,4"], "row 2: could not convert string to float: 'x'"),
        ([HEADER, "a/1.jpg,1,2,nan,4"], "row 2: box 1,2,nan,4 is empty"),
        ([HEADER, "a/1.jpg,5,2,3,4"], "row 2: box 5,2,3,4 is empty"),
        ([HEADER, "1.jpg,1,2,3,4"], "row 2: 1.jpg may be a/1.jpg or b/1.jpg"),
        ([HEADER, "2.jpg,1,2,3,4", "a/2.jpg,1,2,3,4"], "row 3: a/2.jpg has a box already"),
        ([HEADER, "c.jpg,1,2,3,4"], "no row names an image of the source, whose paths look like a/1.jpg"),
    ],
)
def test_bad_box_row_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CuhsError, match=rf"labels\.csv.*{re.escape(message)}") as caught:
        read_boxes(csv(tmp_path, *lines), IMAGES)
    assert "\n" not in str(caught.value)


def test_boxes_are_clipped_to_the_image_and_divided_by_its_size() -> None:
    assert normalise((10, 0, 30, 50), width=40, height=100) == (0.25, 0.0, 0.75, 0.5)
    assert normalise((-10, -5, 50, 50), width=40, height=100) == (0.0, 0.0, 1.0, 0.5)
    assert normalise((40, 0, 50, 50), width=40, height=100) is None
    assert normalise((0, -20, 10, -1), width=40, height=100) is None


def test_the_fixed_box_is_the_upper_third() -> None:
    assert fixed_box() == (0, 0, 1, 1 / 3)
