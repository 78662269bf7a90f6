import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.data.shards import read_split
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.layouts import cuhk03_mat
from cuhs.raw.sources import LARGEST, list_source, raw_bytes

OWN = r"(?P<pid>\w+)/c(?P<camid>\d)_\d"


def touch(root: Path, *names: str | bytes) -> Path:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def own(root: Path, **files: object) -> Source:
    touch(root, "mia/c1_1.jpg", "mia/c2_1.jpg", "07/c1_1.jpg")
    return Source(classify=False, layout="pattern", folder=root, **{"pattern": OWN, **files})


def test_labels_boxes_and_strays_of_own_images(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("pid,colour\nmia,black\n")
    (tmp_path / "boxes.csv").write_text("file,x1,y1,x2,y2\nmia/c1_1.jpg,0,0,4,4\n")
    files = own(tmp_path / "own", clothing=tmp_path / "labels.csv", boxes=tmp_path / "boxes.csv")
    touch(tmp_path / "own", "mia/portrait.png", "plans/floor.png", "mia/notes.txt")
    listed = list_source("own", files)
    assert [(image.path, image.pid) for image in listed.images] == [
        ("07/c1_1.jpg", "0007"),
        ("mia/c1_1.jpg", "mia"),
        ("mia/c2_1.jpg", "mia"),
    ]
    assert listed.colours == {"mia": "black"} and listed.unlabelled == 1
    assert listed.boxes.by_path == {"mia/c1_1.jpg": (0, 0, 4, 4)}
    assert listed.strays == ["mia/portrait.png", "plans/floor.png"]


def test_a_path_that_is_no_utf_8_is_a_stray_in_printable_letters(tmp_path: Path) -> None:
    try:
        touch(tmp_path, b"m\xfcller/c1_1.jpg")
    except OSError:
        pytest.skip("the file system takes no such name")
    listed = list_source("own", own(tmp_path, pattern=r"(?P<pid>[^/]+)/c(?P<camid>\d)_\d"))
    assert "m\\udcfcller/c1_1.jpg" in listed.strays
    assert {image.pid for image in listed.images} == {"mia", "0007"}


def test_images_of_msmt17_in_no_list_are_strays_and_listed_ones_need_not_be_there(tmp_path: Path) -> None:
    name = "0001/0001_000_0{}_0303morning_0008_0.jpg"
    for number, part in enumerate(("train", "val", "query", "gallery")):
        (tmp_path / f"list_{part}.txt").write_text(f"{name.format(number)} 1\n")
    touch(tmp_path, f"train/{name.format(0)}", f"train/{name.format(9)}", f"test/{name.format(2)}")
    listed = list_source("m", Source(classify=False, layout="msmt17", folder=tmp_path))
    assert len(listed.images) == 4
    assert listed.strays == [f"train/{name.format(9)}"]
    assert listed.unlabelled == 2


@pytest.mark.parametrize(
    ("layout", "keys", "message"),
    [
        ("pattern", {"pattern": None}, "data.sources.own.pattern: missing; give a regular expression for the paths"),
        ("pattern", {"split": Path("s.mat")}, "data.sources.own.split: only the cuhk03 layout takes a split file"),
        ("market1501", {}, "data.sources.own.pattern: only the pattern layout takes a pattern"),
        (
            "pattern",
            {"clothing": Path("market_attribute.mat")},
            "data.sources.own.clothing: attributes are published for market1501 and dukemtmc, not for pattern",
        ),
    ],
)
def test_a_key_of_another_layout_is_named(tmp_path: Path, layout: str, keys: dict[str, object], message: str) -> None:
    files = own(tmp_path, **keys)
    with pytest.raises(CuhsError, match=message):
        list_source("own", files.model_copy(update={"layout": layout}))


@pytest.mark.parametrize(("layout", "variable"), [("market1501", "market_attribute"), ("dukemtmc", "duke_attribute")])
def test_published_attributes_label_their_dataset(tmp_path: Path, layout: str, variable: str) -> None:
    suffix = "s1_000451_03" if layout == "market1501" else "_f0000451"
    folders = ("bounding_box_train/0002", "bounding_box_test/0003", "query/0003")
    touch(tmp_path, *(f"{name}_c{number}{suffix}.jpg" for number, name in enumerate(folders)))
    part = {"image_index": np.array([["0002", "0003"]], dtype=object), "upblack": [[1, 2]], "upwhite": [[2, 1]]}
    scipy.io.savemat(tmp_path / "attributes.mat", {variable: {"train": part, "test": part}})
    listed = list_source(
        "x", Source(classify=False, layout=layout, folder=tmp_path, clothing=tmp_path / "attributes.mat")
    )  # type: ignore[arg-type]
    assert listed.colours == {2: "white", 3: "black"}


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = own(tmp_path)
    actual = Path.iterdir

    def closed(folder: Path) -> object:
        if folder.name == "mia":
            raise PermissionError(13, "Permission denied", str(folder))
        return actual(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(CuhsError) as caught:
        list_source("own", files)
    assert str(caught.value) == f"{tmp_path / 'mia'}: cannot be listed (Permission denied)"


def test_raw_bytes_are_the_file_s_own(tmp_path: Path) -> None:
    files = own(tmp_path)
    (tmp_path / "mia/c1_1.jpg").write_bytes(b"as it is")
    assert raw_bytes(files, "mia/c1_1.jpg") == b"as it is"


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path), lambda path: None])
def test_raw_bytes_of_what_is_no_file_are_an_os_error(tmp_path: Path, make: object) -> None:
    files = own(tmp_path)
    make(tmp_path / "mia/c1_9.jpg")  # type: ignore[operator]
    with pytest.raises(OSError, match="c1_9"):
        raw_bytes(files, "mia/c1_9.jpg")


def test_a_pipe_and_a_huge_file_are_not_read(tmp_path: Path) -> None:
    files = own(tmp_path)
    os.mkfifo(tmp_path / "mia/c1_8.jpg")
    with pytest.raises(OSError, match=r"c1_8\.jpg is not a regular file"):
        raw_bytes(files, "mia/c1_8.jpg")
    with (tmp_path / "mia/c1_9.jpg").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(OSError, match=r"c1_9\.jpg has more than 512 MiB"):
        raw_bytes(files, "mia/c1_9.jpg")


def test_only_cuhk03_is_read_from_its_released_file(tmp_path: Path) -> None:
    touch(tmp_path, cuhk03_mat.FILE)
    files = own(tmp_path)
    (tmp_path / "mia/c1_1.jpg").write_bytes(b"as it is")
    assert raw_bytes(files, "mia/c1_1.jpg") == b"as it is"


def test_own_images_with_text_identities_and_no_cameras_become_a_dataset_that_can_be_ranked(tmp_path: Path) -> None:
    for seed, name in enumerate(("ann/1", "ann/2", "bo/1", "bo/2", "bo/3")):
        path = touch(tmp_path / "own", f"{name}.png") / f"{name}.png"
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "labels.csv").write_text("pid,colour\nbo,white\n")
    files = Source(
        classify=False,
        layout="pattern",
        folder=tmp_path / "own",
        pattern=r"(?P<pid>\w+)/\d",
        clothing=tmp_path / "labels.csv",
    )
    summary = build(DatasetConfig(name="own", raw=tmp_path, sources={"own": files}, test_share=1.0), tmp_path / "out")
    assert summary["splits"]["query"] == {"ids": 2, "images": 2}
    assert summary["splits"]["gallery"] == {"ids": 2, "images": 3}
    assert summary["queries_without_match"]["count"] == 0
    rows = read_split(tmp_path / "out", "query").to_pylist() + read_split(tmp_path / "out", "gallery").to_pylist()
    assert {(row["pid"], row["colour"]) for row in rows} == {("own/ann", "other"), ("own/bo", "white")}
    assert len({row["camid"] for row in rows}) == 5


def test_key_points_give_boxes_where_no_annotation_does(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("1_a.jpg", "2_a.jpg", "2_b.jpg"):
        Image.new("RGB", (64, 128)).save(folder / name)
    (tmp_path / "boxes.csv").write_text("file,x1,y1,x2,y2\n1_a.jpg,10,5,50,40\n")
    points = [32, 20, 2] * 5 + [20, 40, 2] + [44, 40, 2] + [0, 0, 0] * 10
    persons = [{"image_id": i, "keypoints": points} for i in (1, 2)]
    images = [{"id": i, "file_name": name} for i, name in ((1, "1_a.jpg"), (2, "2_a.jpg"))]
    (tmp_path / "points.json").write_text(json.dumps({"images": images, "annotations": persons}))
    files = Source(
        layout="pattern",
        folder=folder,
        pattern=r"(?P<pid>\d+)_\w",
        boxes=tmp_path / "boxes.csv",
        keypoints=tmp_path / "points.json",
    )
    boxes = list_source("own", files).boxes
    assert {path: boxes.origin(path) for path in boxes.by_path} == {"1_a.jpg": "annotation", "2_a.jpg": "keypoints"}
    assert boxes.by_path["1_a.jpg"] == (10, 5, 50, 40)
    x1, y1, x2, y2 = boxes.by_path["2_a.jpg"]
    assert x1 < 20 and x2 > 44 and y1 < 20 and 40 < y2 < 60


def test_a_folder_of_points_is_for_market1501_only(tmp_path: Path) -> None:
    Image.new("RGB", (64, 128)).save(tmp_path / "1_a.jpg")
    Image.new("RGB", (64, 128)).save(tmp_path / "1_b.jpg")
    files = Source(classify=False, layout="pattern", folder=tmp_path, pattern=r"(?P<pid>\d+)_\w", keypoints=tmp_path)
    with pytest.raises(CuhsError, match=r"sources\.own\.keypoints: 14 points are published for market1501 only"):
        list_source("own", files)


def test_identities_that_are_numbered_from_0_in_training_and_in_testing_are_told_apart(tmp_path: Path) -> None:
    names = ("bounding_box_train/0000_c1_01.jpg", "bounding_box_test/0000_c1_01.jpg", "query/0000_c2_01.jpg")
    touch(tmp_path, *names, "bounding_box_test/-1_c1_01.jpg")
    source = Source(layout="market1501", folder=tmp_path, pids_per_split=True)
    found = {image.path: image.pid for image in list_source("msmt", source).images}
    assert [found[name] for name in names] == ["train-0000", "test-0000", "test-0000"]
    assert found["bounding_box_test/-1_c1_01.jpg"] == -1
    (tmp_path / "labels.csv").write_text("pid,colour\ntest-0000,black\n")
    labelled = source.model_copy(update={"clothing": tmp_path / "labels.csv"})
    assert list_source("msmt", labelled).colours == {"test-0000": "black"}


def test_identities_cannot_be_told_apart_by_roles_that_nobody_gives(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"data\.sources\.own\.pids_per_split: no image has a published role"):
        list_source("own", own(tmp_path, pids_per_split=True))


def test_identities_of_msmt17_are_told_apart_once(tmp_path: Path) -> None:
    for part in ("train", "val", "query", "gallery"):
        (tmp_path / f"list_{part}.txt").write_text("0001/0001_000_01_0303morning_0008_0.jpg 1\n")
    touch(tmp_path, "train/a.txt", "test/a.txt")
    source = Source(layout="msmt17", folder=tmp_path, pids_per_split=True)
    assert {image.pid for image in list_source("m", source).images} == {"train-0001", "test-0001"}


@pytest.mark.skipif(not os.environ.get("CUHS_CASES"), reason="CUHS_CASES names no folder of inputs that failed once")
@pytest.mark.parametrize(
    ("folder", "keys", "images"),
    [
        ("msmt_market/m", {"layout": "market1501", "pids_per_split": True}, 36),
        ("msmt_bom/MSMT17", {"layout": "msmt17"}, None),
        ("msmt_blank_end/MSMT17", {"layout": "msmt17"}, None),
    ],
)
def test_inputs_that_failed_once(folder: str, keys: dict, images: int | None) -> None:
    root = Path(os.environ["CUHS_CASES"]) / "raw" / folder
    listed = list_source("s", Source(folder=root, **keys))
    assert (listed.strays == [] and len(listed.images) == images) or (images is None and listed.images)
