import re
import unicodedata
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.layouts.pattern import read
from cuhs.raw.records import RawImage, Sample
from cuhs.raw.sources import list_source

FLAT = r"(?P<pid>\d+)_c(?P<camid>\d+)_(?P<frame>\d+)"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_groups_of_the_whole_path_are_read_as_text_and_numbers_without_their_zeros(tmp_path: Path) -> None:
    touch(tmp_path, "0_c1_5.jpg", "000_c02_6.PNG", "12345_c2_7.jpg", "plan.jpg", "more/1_c1_1.jpg", "notes.txt")
    assert read(tmp_path, FLAT) == [
        RawImage("000_c02_6.PNG", "0000", 2, None),
        RawImage("0_c1_5.jpg", "0000", 1, None),
        RawImage("12345_c2_7.jpg", "12345", 2, None),
    ]


def test_identity_zero_is_somebody(tmp_path: Path) -> None:
    images = read(touch(tmp_path, "0_c1_5.jpg", "0_c2_6.jpg"), FLAT)
    samples = [Sample("own", image, "other") for image in images]
    assert {sample.pid for sample in samples} == {"own/0000"}
    assert all(sample.is_person and not sample.distractor and not sample.junk for sample in samples)


def test_folder_names_carry_groups(tmp_path: Path) -> None:
    touch(tmp_path, "train/Ann Lee/gate_1.jpg", "query/Bo/gate_1.jpg", "gallery/Bo/lab_1.jpg", "train/._x.jpg")
    images = read(tmp_path, r"(?P<split>train|query|gallery)/(?P<pid>.+)/(?P<camid>[a-z]+)_(?P<frame>\d+)")
    assert images == [
        RawImage("gallery/Bo/lab_1.jpg", "Bo", "lab", "gallery"),
        RawImage("query/Bo/gate_1.jpg", "Bo", "gate", "query"),
        RawImage("train/Ann Lee/gate_1.jpg", "Ann Lee", "gate", "train"),
    ]
    assert (Sample("own", images[2], "other").pid, Sample("own", images[2], "other").camid) == (
        "own/Ann Lee",
        "own/gate",
    )


def test_market_s_names_of_folders_are_splits(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"{folder}/7_{folder[-1]}.png" for folder in ("bounding_box_train", "bounding_box_test", "query"))
    )
    images = read(tmp_path, r"(?P<split>\w+)/(?P<pid>\d+)_(?P<camid>\w)")
    assert [image.split for image in images] == ["gallery", "train", "query"]


def test_identities_stay_when_images_are_added(tmp_path: Path) -> None:
    pattern = r"(?P<pid>[a-z]+)\d"
    before = {image.path: image.pid for image in read(touch(tmp_path, "mia1.jpg", "mia2.jpg", "zoe1.jpg"), pattern)}
    after = {image.path: image.pid for image in read(touch(tmp_path, "ada1.jpg", "leo1.jpg"), pattern)}
    assert before.items() < after.items()


def test_without_cameras_every_image_is_seen_by_a_camera_of_its_own(tmp_path: Path) -> None:
    images = read(touch(tmp_path, "1_a.jpg", "1_b.jpg"), r"(?P<pid>\d+)_.")
    assert [image.camid for image in images] == [None, None]
    assert [Sample("own", image, "other").camid for image in images] == ["own/1_a.jpg", "own/1_b.jpg"]


def test_linked_folders_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "disk/7_c1_1.jpg", "disk/7_c2_1.jpg")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/monday").symlink_to(tmp_path / "disk")
    assert len(read(tmp_path / "own", f"monday/{FLAT}")) == 2


def test_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "monday/7_c1_1.jpg")
    (tmp_path / "monday/again").symlink_to(tmp_path)
    with pytest.raises(CuhsError, match="monday/again: a link to a folder that holds it"):
        read(tmp_path, FLAT)


def test_a_link_to_itself_is_an_image_that_cannot_be_read_and_no_circle(tmp_path: Path) -> None:
    touch(tmp_path, "7_c1_1.jpg", "7_c2_1.jpg")
    (tmp_path / "7_c3_1.jpg").symlink_to(tmp_path / "7_c3_1.jpg")
    assert len(read(tmp_path, FLAT)) == 3


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<pid>\d+_c", "is no regular expression (missing ), unterminated subpattern at position 0)"),
        (r"(\d+)_c(?P<camid>\d+)_\d+", "has no group (?P<pid>…) for the identity"),
        (r"(?P<pid>\d+)_c(?P<cam>\d+)_\d+", "has a group cam; the groups are pid, camid, split, frame"),
        (r"(?P<pid>\d+)-c(?P<camid>\d+)", "matches no path"),
        (r"(?P<pid>\d+)_c(?P<camid>\d+)?_?\d*(x)?", "leaves camid empty in 1 of 4 paths, such as '0003_c.jpg'"),
        (r"(?P<pid>\d*)_?c?(?P<camid>[\dx])?_?\w*", "leaves camid empty in 1 of 4"),
        (r"(?P<pid>\d+)_(?P<split>c)\w*", "reads '0001_c1_01.jpg' as of split 'c'; the splits are train, query,"),
        (r"(?P<pid>\d+)_(?P<camid>c)\w*", "gives no query a match in another camera; leave camid out"),
        (r"(?P<pid>\w+)", "gives no query a second image of its identity"),
    ],
)
def test_a_pattern_that_says_nothing_clear_is_refused_with_examples(
    tmp_path: Path, pattern: str, message: str
) -> None:
    touch(tmp_path, "0001_c1_01.jpg", "0001_c2_01.jpg", "0002_c2_01.jpg", "0003_c.jpg")
    with pytest.raises(CuhsError) as caught:
        read(tmp_path, pattern)
    assert str(caught.value).startswith(f"pattern {pattern!r} {message}")
    assert str(caught.value).endswith(f"; {tmp_path} holds paths such as '0001_c1_01', '0002_c2_01'")


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("query/1_a", "gallery/1_b"), False),
        (("query/1_a", "gallery/1_a"), True),
        (("query/1_a", "query/1_b", "gallery/2_b"), True),
        (("train/1_a", "train/2_a"), False),
        (("gallery/1_a", "train/2_a"), False),
    ],
)
def test_queries_that_can_have_no_match_are_refused(tmp_path: Path, names: tuple[str, ...], refused: bool) -> None:
    touch(tmp_path, *(f"{name}.jpg" for name in names))
    pattern = r"(?P<split>\w+)/(?P<pid>\d)_(?P<camid>\w)"
    if refused:
        with pytest.raises(CuhsError, match="gives no query a match in another camera"):
            read(tmp_path, pattern)
    else:
        assert len(read(tmp_path, pattern)) == len(names)


def test_a_folder_of_a_published_layout_is_recognised(tmp_path: Path) -> None:
    source = Source(layout="pattern", folder=tmp_path, pattern=FLAT)
    touch(tmp_path, "bounding_box_train/0001_c2_f0046182.jpg", "query/0002_c2_f0046182.jpg")
    with pytest.raises(CuhsError, match=r"matches no path; .* holds paths such as"):
        list_source("own", source)
    touch(tmp_path, "bounding_box_test/0002_c1_f0046182.jpg")
    with pytest.raises(CuhsError, match=r"matches no path; the folder looks like layout: dukemtmc \(3 images\)$"):
        list_source("own", source)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, ": no such folder; the pattern layout takes the images in it and below"),
        (lambda root: root.touch(), ": not a folder; the pattern layout"),
        (lambda root: root.mkdir(), ": no image in it or below; it holds nothing"),
        (lambda root: touch(root, "a/readme.txt"), ": no image in it or below; it holds a"),
    ],
)
def test_a_folder_without_images_is_named(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "own")  # type: ignore[operator]
    with pytest.raises(CuhsError, match=re.escape(f"{tmp_path / 'own'}{message}")):
        read(tmp_path / "own", FLAT)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_with_an_accent_is_one_person_whatever_form_the_file_system_writes(tmp_path: Path, form: str) -> None:
    touch(tmp_path, unicodedata.normalize(form, "Jos\u00e9_Ju\u00e1n/1.jpg"), "Jos\u00e9_Ju\u00e1n/2.jpg")
    pattern = unicodedata.normalize(form, "(?P<pid>Jos\u00e9_\\w+)/(?P<camid>\\d)")
    assert {image.pid for image in read(tmp_path, pattern)} == {"Jos\u00e9_Ju\u00e1n"}


def test_beside_queries_the_folder_called_test_is_the_gallery_and_alone_it_is_nothing(tmp_path: Path) -> None:
    pattern = r"image_(?P<split>\w+)/(?P<pid>\d)_(?P<camid>\d)"
    touch(tmp_path, "image_train/1_1.jpg", "image_test/2_1.jpg")
    with pytest.raises(
        CuhsError, match=r"reads 'image_test/2_1\.jpg' as of split 'test' and nothing as query; leave"
    ):
        read(tmp_path, pattern)
    touch(tmp_path, "image_query/2_2.jpg")
    assert [image.split for image in read(tmp_path, pattern)] == ["query", "gallery", "train"]
