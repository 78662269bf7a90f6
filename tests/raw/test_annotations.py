import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from cuhs.errors import CuhsError
from cuhs.raw.head_shoulder_boxes import RawBoxes, fixed_box, normalise, read_boxes
from cuhs.raw.labels import read_attributes, read_colours


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
        (["pid,colour", "1,black", "0001,white"], "row 3: identity 0001 has a label already"),
        (
            ["pid,colour", "one,black"],
            "row 2: identity one has no image in the source, whose identities look like 0001",
        ),
        (["pid,colour", "1"], "row 2: a value is missing"),
    ],
)
def test_bad_clothing_row_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CuhsError, match=rf"labels\.csv.*{re.escape(message)}") as caught:
        read_colours(csv(tmp_path, *lines), {1, 2})
    assert "\n" not in str(caught.value)


def test_text_identities_are_labelled_by_their_text_and_numbers_with_or_without_zeros(tmp_path: Path) -> None:
    path = csv(tmp_path, "pid,colour", "Ann Lee,black", "7,white", "train-0005,other", "000,black")
    known = {"Ann Lee", "0007", "train-0005", "0000"}
    assert read_colours(path, known) == {
        "Ann Lee": "black",
        "0007": "white",
        "train-0005": "other",
        "0000": "black",
    }


def test_a_text_identity_is_not_found_by_another_case(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match="identity ann lee has no image in the source"):
        read_colours(csv(tmp_path, "pid,colour", "ann lee,black"), {"Ann Lee"})


def attributes(path: Path, **parts: dict[str, tuple[int, int]]) -> Path:
    """A file as published: identity → (upblack, upwhite) for ``train`` and ``test``."""
    content = {}
    for part, people in parts.items():
        names = np.empty((1, len(people)), dtype=object)
        names[0, :] = list(people)
        black, white = np.array(list(people.values()), dtype=np.uint8).reshape(-1, 2).T[:, None]
        content[part] = {"upwhite": white, "gender": black, "upblack": black, "image_index": names}
    scipy.io.savemat(path, {"market_attribute": content})
    return path


def test_published_attributes_of_both_parts_are_black_white_or_other(tmp_path: Path) -> None:
    path = attributes(
        tmp_path / "a.mat", train={"0002": (2, 1), "0007": (1, 2)}, test={"0001": (1, 1), "0003": (2, 1)}
    )
    assert read_attributes(path, "market_attribute", {1, 2, 7, 9}) == {1: "other", 2: "black", 7: "white"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such annotation file"),
        (lambda path: path.write_bytes(b"pid,colour"), "not a readable MATLAB file"),
        (
            lambda path: attributes(path, train={"1": (1, 1)}),
            "not market_attribute.mat as published (no field of name test)",
        ),
        (lambda path: scipy.io.savemat(path, {"duke_attribute": 1}), "not market_attribute.mat as published"),
        (lambda path: scipy.io.savemat(path, {"market_attribute": 1}), "not market_attribute.mat as published"),
        (
            lambda path: attributes(path, train={"5": (1, 1)}, test={"6": (2, 1)}),
            "describes no identity of the source",
        ),
    ],
)
def test_attributes_of_another_kind_are_named(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "a.mat"
    make(path)
    with pytest.raises(CuhsError, match=rf"a\.mat: {re.escape(message)}") as caught:
        read_attributes(path, "market_attribute", {1, 2})
    assert "\n" not in str(caught.value)


@pytest.mark.skipif("CUHS_REAL_DATA" not in os.environ, reason="CUHS_REAL_DATA names no folder of real data")
def test_the_published_attributes_of_market_1501_have_their_counts() -> None:
    path = Path(os.environ["CUHS_REAL_DATA"]) / "market1501_annotations/market_attribute.mat"
    colours = read_attributes(path, "market_attribute", range(1, 1502))
    assert Counter(colours.values()) == {"black": 222, "white": 436, "other": 843}
    assert [colours[pid] for pid in (1, 2, 3, 4, 7, 10)] == ["white", "other", "black", "other", "white", "other"]
    assert read_attributes(path, "market_attribute", {7, 0, 2000}) == {7: "white"}


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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_spelling_in_another_unicode_form_finds_its_identity_and_its_image(tmp_path: Path, form: str) -> None:
    name, other = (unicodedata.normalize(f, "Jos\u00e9") for f in (form, {"NFC": "NFD", "NFD": "NFC"}[form]))
    assert name != other
    assert read_colours(csv(tmp_path, "pid,colour", f"{other},black"), {name}) == {name: "black"}
    images = (f"{name}/1.jpg", f"{name}/{name}.jpg")
    boxes = read_boxes(csv(tmp_path, HEADER, f"{other}/1.jpg,1,2,3,4", f"{other}.jpg,0,0,9,9"), images)
    assert boxes.by_path == {images[0]: (1, 2, 3, 4), images[1]: (0, 0, 9, 9)}


def test_of_two_images_that_differ_in_the_unicode_form_each_has_its_own_box(tmp_path: Path) -> None:
    images = tuple(unicodedata.normalize(form, "\u00e9.jpg") for form in ("NFC", "NFD"))
    rows = [f"{image},0,0,{n + 2},2" for n, image in enumerate(images)]
    assert read_boxes(csv(tmp_path, HEADER, *rows), images).by_path == {
        images[0]: (0, 0, 2, 2),
        images[1]: (0, 0, 3, 2),
    }


@pytest.mark.parametrize(
    ("pid", "said"),
    [
        ("1.0", "write 0001: a spreadsheet has made a decimal number of it"),
        ("market1501/0001", "write 0001: the labels of a source go without its name"),
        ("market1501/1.0", "write 0001: the labels of a source go without its name"),
        ("3.0", "remove the row"),
        ("1.5", "remove the row"),
    ],
)
def test_an_identity_that_is_written_in_another_way_is_told_how(tmp_path: Path, pid: str, said: str) -> None:
    with pytest.raises(CuhsError, match=re.escape(f"row 2: identity {pid} has no image in the source")) as refused:
        read_colours(csv(tmp_path, "pid,colour", f"{pid},black"), {1, 2})
    assert str(refused.value).endswith(f"; {said}")


def test_boxes_may_be_fractions_of_the_image(tmp_path: Path) -> None:
    rows = ("a/1.jpg,0.25,-0.01,0.75,1.02,fraction", "a/2.jpg,0,0,0.5,0.5,fraction")
    boxes = read_boxes(csv(tmp_path, f"{HEADER}, unit", *rows), IMAGES)
    assert boxes.normalised("a/1.jpg", 40, 100) == (0.25, 0, 0.75, 1)
    pixels = read_boxes(csv(tmp_path, f"{HEADER},unit", "a/1.jpg,10,0,30,100,pixels"), IMAGES)
    assert pixels.normalised("a/1.jpg", 40, 100) == (0.25, 0, 0.75, 1)
    estimated = RawBoxes({"b/1.jpg": (10, 0, 30, 100)})
    assert boxes.with_estimates(estimated).normalised("b/1.jpg", 40, 100) == (0.25, 0, 0.75, 1)
    assert boxes.with_estimates(estimated).normalised("a/2.jpg", 40, 100) == (0, 0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a/1.jpg,0.1,0,0.9,0.4,", "a/2.jpg,0,0,1,1,"], ": no number is above 1, so these are no pixels"),
        (["a/1.jpg,0.1,0,0.9,0.4,pixels"], ": no number is above 1, so these are no pixels"),
        (["a/1.jpg,0,0,0.9,0.4,fraction", "a/2.jpg,4,0,20,30,fraction"], ", row 3: 30 is no fraction of an image"),
        (["a/1.jpg,0,0,0.9,0.4,fraction", "a/2.jpg,4,0,20,30,pixels"], ": some rows are in pixels and some are"),
        (["a/1.jpg,0,0,9,4,percent"], ", row 2: unit 'percent' is not one of pixels, fraction"),
    ],
)
def test_numbers_that_contradict_their_unit_are_refused(tmp_path: Path, rows: list[str], said: str) -> None:
    unit = "" if rows[0].endswith(",") else ",unit"
    with pytest.raises(CuhsError, match=re.escape(f"labels.csv{said}")) as refused:
        read_boxes(csv(tmp_path, f"{HEADER}{unit}", *(row.rstrip(",") for row in rows)), IMAGES)
    assert "\n" not in str(refused.value)
