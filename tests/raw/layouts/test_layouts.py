import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.layouts import cuhk03, dukemtmc, market1501, msmt17, occluded_reid, partial_reid
from cuhs.raw.layouts.readers import looks_like
from cuhs.raw.records import RawImage, Sample
from cuhs.raw.sources import list_source


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def cells(*values: object) -> np.ndarray:
    array = np.empty((len(values), 1), dtype=object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "query/0001_c2s1_000301_00.jpg",
    "bounding_box_test/-1_c3s1_000001_01.jpg",
    "bounding_box_test/0000_c6s4_000002_01.JPG",
    "bounding_box_test/0001_c1s1_000003_01.jpg.jpg",
)


def test_market_gives_roles_identities_and_cameras_and_passes_over_clutter(tmp_path: Path) -> None:
    touch(tmp_path, *MARKET, "query/Thumbs.db", "readme.txt", "bounding_box_train/._0002_c1s1_000451_03.jpg")
    assert market1501.read(tmp_path) == [
        RawImage(MARKET[2], -1, 3, "gallery"),
        RawImage(MARKET[3], 0, 6, "gallery"),
        RawImage(MARKET[4], 1, 1, "gallery"),
        RawImage(MARKET[0], 2, 1, "train"),
        RawImage(MARKET[1], 1, 2, "query"),
    ]


DUKE = (
    "bounding_box_train/0001_c2_f0046182.jpg",
    "query/0005_c5_f0051341.jpg",
    "bounding_box_test/0014_c8_f0044158.jpg",
)


def test_duke_gives_roles_identities_and_cameras(tmp_path: Path) -> None:
    touch(tmp_path, *DUKE, "query/0005_c5s1_051341_00.jpg")
    assert dukemtmc.read(tmp_path) == [
        RawImage(DUKE[2], 14, 8, "gallery"),
        RawImage(DUKE[0], 1, 2, "train"),
        RawImage(DUKE[1], 5, 5, "query"),
    ]


MSMT_LISTS = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg 0\n0005/0005_001_15_0113noon_1234_2_ex.jpg 5\n",
    "list_val.txt": "0000/0000_013_04_0303morning_0020_2.jpg 0\n",
    "list_query.txt": "0005/0005_002_03_0302afternoon_0016_2.jpg 5\n",
    "list_gallery.txt": "0005/0005_003_11_0302afternoon_0016_2.jpg 5\r\n",
}


def msmt(root: Path, train: str, test: str) -> Path:
    touch(root, f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", f"{test}/0005/Thumbs.db")
    for name, lines in MSMT_LISTS.items():
        (root / name).write_text(lines)
    return root


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_keeps_training_and_testing_identities_apart_and_nobody_is_a_distractor(
    tmp_path: Path, train: str, test: str
) -> None:
    images = msmt17.read(msmt(tmp_path, train, test))
    assert sorted(images, key=lambda image: image.camid) == [
        RawImage(f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", "train-0000", 1, "train"),
        RawImage(f"{test}/0005/0005_002_03_0302afternoon_0016_2.jpg", "test-0005", 3, "query"),
        RawImage(f"{train}/0000/0000_013_04_0303morning_0020_2.jpg", "train-0000", 4, "train"),
        RawImage(f"{test}/0005/0005_003_11_0302afternoon_0016_2.jpg", "test-0005", 11, "gallery"),
        RawImage(f"{train}/0005/0005_001_15_0113noon_1234_2_ex.jpg", "train-0005", 15, "train"),
    ]
    assert images == sorted(images)
    assert all(image.is_person for image in images)
    assert {Sample("msmt17", image, "other").pid for image in images} == {
        "msmt17/train-0000",
        "msmt17/train-0005",
        "msmt17/test-0005",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no list_query.txt, which the msmt17 layout expects; it holds list_gallery.txt"),
        (b"", "list_query.txt: lists no image"),
        (
            b"0005/0005_002_03_0302afternoon_0016_2.jpg 5\n0005/5.jpg 5\n",
            "list_query.txt, row 2: '0005/5.jpg 5' is not",
        ),
        (b"0005/0005_002_03_0302afternoon_0016_2.jpg\n", "row 1"),
        (b"\xff\xfe0", "list_query.txt: not a text file"),
    ],
)
def test_a_bad_list_of_msmt17_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    msmt(tmp_path, "train", "test")
    (tmp_path / "list_query.txt").unlink()
    if content is not None:
        (tmp_path / "list_query.txt").write_bytes(content)
    with pytest.raises(CuhsError, match=re.escape(message)) as caught:
        msmt17.read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".Bmp", ".tif", ".TIFF"])
def test_every_image_extension_is_taken_in_any_case(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"images_labeled/1_007_2_06{suffix}", "images_labeled/1_007_2_07.pdf")
    assert cuhk03.read(tmp_path) == [RawImage(f"images_labeled/1_007_2_06{suffix}", 7, 2, None)]


def test_cuhk03_identities_are_numbered_through_all_pairs_as_in_the_published_labels(tmp_path: Path) -> None:
    names = ("1_843_1_01", "2_001_1_01", "3_001_2_06", "4_001_1_01", "5_049_2_06")
    touch(tmp_path, *(f"images_detected/{name}.png" for name in names))
    images = cuhk03.read(tmp_path, "detected")
    assert [image.pid for image in images] == [843, 844, 1284, 1361, 1467]
    assert [image.camid for image in images] == [1, 3, 6, 7, 10]


def test_cuhk03_identity_beyond_its_pair_is_no_image_of_the_layout(tmp_path: Path) -> None:
    touch(tmp_path, "images_labeled/1_844_1_01.png", "images_labeled/1_001_1_01.png")
    assert [image.pid for image in cuhk03.read(tmp_path)] == [1]


def new_protocol(path: Path, names: list[str], train: list[int], query: list[int], gallery: list[int]) -> Path:
    content = {"filelist": cells(*names), "train_idx": train, "query_idx": query, "gallery_idx": gallery}
    scipy.io.savemat(path, content)
    return path


def test_new_protocol_matches_names_without_extension_and_ignores_absent_files(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images_labeled/1_00{i}_{v}_01.jpg" for i in (1, 2) for v in (1, 2)))
    names = ["1_001_1_01.png", "1_001_2_01.png", "1_002_1_01.png", "1_002_2_01.png", "1_003_1_01.png"]
    split = new_protocol(tmp_path / "np.mat", names, [1, 2], [3], [4, 5])
    assert [image.split for image in cuhk03.read(tmp_path, "labeled", split)] == [
        "train",
        "train",
        "query",
        "gallery",
    ]


def test_classic_protocol_takes_the_first_test_set_and_view_one_queries(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images_labeled/{p}_001_{v}_01.png" for p in (1, 2) for v in (1, 2)))
    sets = cells(np.array([[2, 1]]), np.array([[1, 1]]))
    scipy.io.savemat(tmp_path / "cuhk-03.mat", {"testsets": sets})
    images = cuhk03.read(tmp_path, "labeled", tmp_path / "cuhk-03.mat")
    assert [(image.pid, image.split) for image in images] == [
        (1, "train"),
        (1, "train"),
        (844, "query"),
        (844, "gallery"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such split file"),
        (b"not matlab at all" * 20, "not a readable MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384), "not a readable MATLAB file"),
        (bytes(400), "not a readable MATLAB file"),
        (b"", "not a readable MATLAB file"),
        ({"other": 1}, "neither filelist"),
        ({"filelist": cells("1_001_1_01.png"), "train_idx": [1]}, "no query_idx"),
        (
            {"filelist": cells("1_001_1_01.png"), "train_idx": [2], "query_idx": [1], "gallery_idx": [1]},
            "train_idx has 2",
        ),
        (
            {"filelist": cells("1_009_1_01.png"), "train_idx": [1], "query_idx": [1], "gallery_idx": [1]},
            "1 of 1 images are not in this split",
        ),
        ({"testsets": cells(np.array([[1, 2, 3]]))}, "two columns"),
    ],
)
def test_bad_split_file_is_named(tmp_path: Path, content: object, message: str) -> None:
    touch(tmp_path, "images_labeled/1_001_1_01.png")
    split = tmp_path / "split.mat"
    if isinstance(content, bytes):
        split.write_bytes(content)
    elif content is not None:
        scipy.io.savemat(split, content)
    with pytest.raises(CuhsError, match=rf"split\.mat.*{message}") as caught:
        cuhk03.read(tmp_path, "labeled", split)
    assert "\n" not in str(caught.value)


def test_occluded_reid_reads_a_folder_for_each_identity(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "occluded_body_images/001/001_01.tif",
        "whole_body_images/001/001_02.tif",
        "whole_body_images/a.txt",
    )
    assert occluded_reid.read(tmp_path) == [
        RawImage("occluded_body_images/001/001_01.tif", 1, 2, "query"),
        RawImage("whole_body_images/001/001_02.tif", 1, 1, "gallery"),
    ]


def test_partial_reid_queries_the_whole_body_gallery(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{kind}_body_images/060_003.jpg" for kind in ("occluded", "partial", "whole")),
        "Readme.txt",
    )
    assert [(image.pid, image.camid, image.split) for image in partial_reid.read(tmp_path)] == [
        (60, 2, "query"),
        (60, 2, "query"),
        (60, 1, "gallery"),
    ]


READERS = {
    "market1501": market1501.read,
    "dukemtmc": dukemtmc.read,
    "msmt17": msmt17.read,
    "cuhk03": cuhk03.read,
    "occluded_reid": occluded_reid.read,
    "partial_reid": partial_reid.read,
}
TREES = {
    "market1501": MARKET,
    "dukemtmc": DUKE,
    "msmt17": ("train/0000/0000_000_01_0303morning_0008_0.jpg", "test/0005/5.jpg"),
    "cuhk03": ("images_labeled/1_001_1_01.png",),
    "occluded_reid": ("occluded_body_images/001/001_01.tif", "whole_body_images/001/001_01.tif"),
    "partial_reid": tuple(f"{kind}_body_images/001_001.jpg" for kind in ("occluded", "partial", "whole")),
}


def tree(root: Path, layout: str) -> Path:
    """The smallest folder that the layout reads."""
    return msmt(root, "train", "test") if layout == "msmt17" else touch(root, *TREES[layout])


@pytest.mark.parametrize("layout", READERS)
def test_missing_folder_names_what_was_expected(tmp_path: Path, layout: str) -> None:
    with pytest.raises(CuhsError, match=f"absent: no such folder; the {layout} layout expects .*/"):
        READERS[layout](tmp_path / "absent")


@pytest.mark.parametrize("layout", READERS)
def test_empty_folder_names_what_was_expected(tmp_path: Path, layout: str) -> None:
    with pytest.raises(CuhsError, match=f"which the {layout} layout expects; it holds nothing"):
        READERS[layout](tmp_path)


@pytest.mark.parametrize("layout", READERS)
def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path, layout: str) -> None:
    (tmp_path / "data.zip").touch()
    with pytest.raises(CuhsError, match=f"data.zip: not a folder; the {layout} layout expects .*/"):
        READERS[layout](tmp_path / "data.zip")


@pytest.mark.parametrize("layout", [layout for layout in READERS if layout != "msmt17"])
def test_folders_without_images_of_the_layout_show_an_example(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, *(f"{name.partition('/')[0]}/holiday.jpg" for name in TREES[layout]))
    with pytest.raises(CuhsError, match=f"is named as in the {layout} layout, such as .*_"):
        READERS[layout](tmp_path)


@pytest.mark.parametrize(
    ("chosen", "actual"),
    [(c, a) for c in READERS for a in TREES if c != a and (c, a) != ("occluded_reid", "partial_reid")],
)
def test_wrong_layout_is_told_what_the_folder_looks_like(tmp_path: Path, chosen: str, actual: str) -> None:
    tree(tmp_path, actual)
    found = looks_like(tmp_path)
    assert found and re.fullmatch(rf"{actual} \(\d images\)", found)
    with pytest.raises(CuhsError, match=rf"looks like layout: {re.escape(found)}$") as caught:
        list_source("s", Source(layout=chosen, folder=tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", READERS)
def test_a_folder_around_the_dataset_s_own_is_told(tmp_path: Path, layout: str) -> None:
    tree(tmp_path / "archive/Dataset", layout)
    with pytest.raises(CuhsError, match=r"archive/Dataset is of this layout: give it as the folder$"):
        list_source("s", Source(layout=layout, folder=tmp_path / "archive"))


@pytest.mark.parametrize("chosen", READERS)
@pytest.mark.parametrize("actual", [layout for layout in TREES if layout != "cuhk03"])
def test_a_layout_that_would_not_find_all_its_parts_is_no_hint(tmp_path: Path, chosen: str, actual: str) -> None:
    tree(tmp_path, actual)
    last = tmp_path / ("list_gallery.txt" if actual == "msmt17" else max(TREES[actual]))
    last.rename(last.with_suffix(".off"))
    with pytest.raises(CuhsError) as caught:
        list_source("s", Source(layout=chosen, folder=tmp_path))
    assert "looks like" not in str(caught.value)


@pytest.mark.parametrize("layout", ["occluded_reid", "partial_reid"])
def test_a_kind_of_body_images_without_an_image_is_named_with_the_counts_of_all(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, *(name for name in TREES[layout] if "whole" not in name), "whole_body_images/readme.txt")
    with pytest.raises(CuhsError, match=r"whole_body_images: no image is named .*0 in whole_body_images/\)$"):
        READERS[layout](tmp_path)


def test_a_split_that_leaves_a_role_of_cuhk03_empty_is_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images_labeled/1_00{i}_1_01.jpg" for i in (1, 2)))
    names = ["1_001_1_01.png", "1_002_1_01.png", "1_003_1_01.png"]
    split = new_protocol(tmp_path / "np.mat", names, [3], [1], [2])
    with pytest.raises(
        CuhsError, match=r"np\.mat: gives no image of .*images_labeled the role train \(0 train, 1 que"
    ):
        cuhk03.read(tmp_path, "labeled", split)


def test_images_of_the_other_kind_are_told_by_what_the_folder_holds(tmp_path: Path) -> None:
    touch(tmp_path, "images_detected/1_001_1_01.png")
    with pytest.raises(CuhsError, match=r"no folder images_labeled/.*it holds images_detected"):
        cuhk03.read(tmp_path, "labeled")


def test_a_part_of_market1501_without_an_image_is_named_with_the_counts_of_all(tmp_path: Path) -> None:
    touch(
        tmp_path, "bounding_box_train/0002/0002_c1s1_000451_03.jpg", "bounding_box_train/0003/0003_c2s1_000451_03.jpg"
    )
    touch(tmp_path, "bounding_box_test/0007_c1s1_000001_01.jpg", "query/0007_c2s1_000001_01.jpg")
    with pytest.raises(CuhsError) as failed:
        market1501.read(tmp_path)
    said = str(failed.value)
    assert "bounding_box_train: no image is named as in the market1501 layout" in said
    assert "0 in bounding_box_train/, 1 in bounding_box_test/, 1 in query/" in said
    assert "2 images lie in folders below it: move them up, or use layout: pattern" in said


def test_market1501_s_form_without_sequences_is_read(tmp_path: Path) -> None:
    names = ("bounding_box_train/0000_c14_1400.jpg", "bounding_box_test/0000_c1_0100.jpg", "query/0000_c2_0001.jpg")
    touch(tmp_path, *names)
    assert [(image.path, image.pid, image.camid) for image in market1501.read(tmp_path)] == [
        (names[1], 0, 1),
        (names[0], 0, 14),
        (names[2], 0, 2),
    ]


@pytest.mark.parametrize("text", ["\ufeff{}\n", "{}\n\n", "\n{}\n  \n", "{}\r\n\r\n"])
def test_msmt17_s_lists_may_have_a_byte_order_mark_and_blank_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for name in ("train", "val", "query", "gallery"):
        line = "0000/0000_000_01_0303morning_0008_0.jpg 0"
        (tmp_path / f"list_{name}.txt").write_text(text.format(line), encoding="utf-8")
    assert len(msmt17.read(tmp_path)) == 4
