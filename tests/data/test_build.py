import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuhs.data import build as build_module
from cuhs.data.build import build
from cuhs.data.report import counts_table, warnings
from cuhs.data.shards import read_split, read_summary
from cuhs.data.sources import SourceFiles
from cuhs.errors import CuhsError


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (16, 40), mode: str = "RGB", **save: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **save)
    return path


def market(root: Path) -> SourceFiles:
    """Two training, two testing identities, a distractor and junk, with labels: 11 images."""
    names = [f"bounding_box_train/000{pid}_c{cam}s1_000001_01.jpg" for pid in (1, 2) for cam in (1, 2)]
    names += [f"query/000{pid}_c1s1_000001_00.jpg" for pid in (3, 4)]
    names += [f"bounding_box_test/000{pid}_c2s1_000001_01.jpg" for pid in (0, 3, 4)]
    names += ["bounding_box_test/-1_c3s1_000001_01.jpg", "bounding_box_test/0004_c3s1_000001_01.jpg"]
    for seed, name in enumerate(names):
        picture(root / name, seed)
    (root / "clothing.csv").write_text("pid,colour\n1,black\n3,black\n4,white\n")
    (root / "boxes.csv").write_text(
        "file,x1,y1,x2,y2\nquery/0003_c1s1_000001_00.jpg,-4,0,8,10\n"
        "0001_c1s1_000001_01.jpg,20,0,30,10\nabsent.jpg,0,0,1,1\n"
    )
    return SourceFiles("market1501", root, clothing=root / "clothing.csv", boxes=root / "boxes.csv")


def built(tmp_path: Path, sources: dict[str, SourceFiles], out: str = "out", **options: object) -> dict:
    return build(**{"name": "small", "protocol": "benchmark", "sources": sources, "out": tmp_path / out} | options)


def rows(out: Path) -> dict[str, dict]:
    return {row["path"]: row for split in ("train", "query", "gallery") for row in read_split(out, split).to_pylist()}


def test_rows_carry_labels_boxes_and_the_files_own_bytes(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    summary = built(tmp_path, {"m": source})
    found = rows(tmp_path / "out")
    query = found["query/0003_c1s1_000001_00.jpg"]
    assert query.pop("image") == (source.folder / "query/0003_c1s1_000001_00.jpg").read_bytes()
    assert query == {
        "pid": "m/0003",
        "camid": "m/1",
        "source": "m",
        "colour": "black",
        "box": [0.0, 0.0, 0.5, 0.25],
        "box_origin": "annotation",
        "path": "query/0003_c1s1_000001_00.jpg",
        "groups": ["all", "black"],
        "junk": False,
    }
    junk = found["bounding_box_test/-1_c3s1_000001_01.jpg"]
    assert (junk["pid"], junk["junk"], junk["box"], junk["box_origin"]) == ("m/-1", True, None, None)
    assert len(found) == 11
    assert summary["dropped_boxes"] == [
        {
            "source": "m",
            "file": "bounding_box_train/0001_c1s1_000001_01.jpg",
            "reason": "outside the image of 16×40 pixels",
        },
        {"source": "m", "file": "absent.jpg", "reason": "names no image of the source"},
    ]


def test_summary_counts_people_without_distractors_and_junk(tmp_path: Path) -> None:
    summary = built(tmp_path, {"m": market(tmp_path / "raw")}, seed=7)
    assert read_summary(tmp_path / "out") == summary
    splits = {
        "train": {"ids": 2, "images": 4},
        "query": {"ids": 2, "images": 2},
        "gallery": {"ids": 2, "images": 5},
    }
    assert summary["splits"] == summary["sources"]["m"] == summary["groups"]["all"] == splits
    assert list(summary["groups"]) == ["all", "black", "white"]
    assert summary["groups"]["white"] == splits | {"query": {"ids": 1, "images": 1}}
    assert summary["colours"] == {
        "black": {"ids": 2, "images": 4},
        "white": {"ids": 1, "images": 3},
        "other": {"ids": 1, "images": 4},
    }
    assert summary["boxes"]["query"] == {"annotation": 1, "none": 1}
    assert summary["boxes"]["train"] == {"annotation": 0, "none": 4}
    assert {key: summary[key] for key in ("seed", "cameras", "distractors", "junk", "left_out", "unlabelled")} == {
        "seed": 7,
        "cameras": {"m": 3},
        "distractors": 1,
        "junk": 1,
        "left_out": 0,
        "unlabelled": {"m": 1},
    }
    assert summary["queries_without_match"] == {"count": 0, "first": []}
    assert [shard["rows"] for shard in summary["shards"]] == [4, 2, 5]


@pytest.mark.parametrize("protocol", ["benchmark", "fg_reid", "fg_reid_v2"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, protocol: str) -> None:
    source = market(tmp_path / "raw")
    built(tmp_path, {"m": source}, "a", protocol=protocol)
    built(tmp_path, {"m": source}, "b", protocol=protocol)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 5
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    before = built(tmp_path, {"m": source})["version"]
    picture(source.folder / "query/0003_c1s1_000001_00.jpg", seed=99)
    assert built(tmp_path, {"m": source})["version"] != before


def test_shards_are_cut_by_rows_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = market(tmp_path / "raw")
    monkeypatch.setattr(build_module, "SHARD_ROWS", 3)
    summary = built(tmp_path, {"m": source})
    assert [(shard["file"], shard["rows"]) for shard in summary["shards"]] == [
        ("train/m-00000.parquet", 3),
        ("train/m-00001.parquet", 1),
        ("query/m-00000.parquet", 2),
        ("gallery/m-00000.parquet", 3),
        ("gallery/m-00001.parquet", 2),
    ]
    monkeypatch.setattr(build_module, "SHARD_BYTES", 1)
    assert len(built(tmp_path, {"m": source})["shards"]) == 11


def bad_files(folder: Path) -> dict[str, str]:
    """Files in ``folder`` that no build may use, with a part of the reason."""
    whole = picture(folder / "whole.jpg", size=(64, 128)).read_bytes()
    (folder / "whole.jpg").unlink()
    huge = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(huge, "PNG")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    tiny = picture(folder / "tiny.png", size=(1, 1)).read_bytes()
    (folder / "tiny.png").unlink()
    contents = {
        "0001_c1s1_000101_01.jpg": (b"", "empty file"),
        "0001_c1s1_000102_01.jpg": (whole[: len(whole) // 2], "truncated"),
        "0001_c1s1_000103_01.jpg": (b"<html>not found</html>", "not an image"),
        "0001_c1s1_000104_01.png": (tiny, "1×1 pixels; a side is under 8"),
        "0001_c1s1_000105_01.png": (huge.getvalue(), "10000×6000 pixels; more than 50 million"),
        "0001_c1s1_000106_01.png": (bomb.getvalue(), "more than 50 million pixels"),
        "0001_c1s1_000107_01.png": (picture_bytes("PNG")[:-40], "undecodable"),
        "holiday.jpg": (whole, "the name does not follow the layout"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "0001_c1s1_000108_01.jpg").symlink_to(folder / "gone.jpg")
    return {name: reason for name, (_, reason) in contents.items()} | {
        "0001_c1s1_000108_01.jpg": "unreadable: No such"
    }


def picture_bytes(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((32, 64), 50).convert("RGB").save(buffer, form)
    return buffer.getvalue()


def test_bad_files_go_to_quarantine_and_stop_nothing(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    expected = bad_files(source.folder / "bounding_box_train")
    summary = built(tmp_path, {"m": source})
    found = {item["path"].partition("/")[2]: item["reason"] for item in summary["quarantine"]}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name], name
    assert summary["splits"]["train"] == {"ids": 2, "images": 4}
    page = (tmp_path / "out/dataset.html").read_text()
    assert all(f"bounding_box_train/{name}" in page for name in expected)
    assert any(line.startswith("9 files in quarantine") for line in warnings(summary))


def decoded(tmp_path: Path, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(rows(tmp_path / "out")[f"bounding_box_train/{name}"]["image"]))
    image.load()
    return image


def test_unusual_encodings_are_brought_to_upright_rgb(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    train = source.folder / "bounding_box_train"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown, the picture's height and width change places
    picture(train / "0001_c1s1_000201_01.jpg", size=(40, 16), exif=exif)
    picture(train / "0001_c1s1_000202_01.jpg", mode="CMYK")
    picture(train / "0001_c1s1_000203_01.png", mode="P")
    Image.new("RGBA", (16, 40), (255, 0, 0, 0)).save(train / "0001_c1s1_000204_01.png")
    Image.fromarray(np.full((40, 16), 257 * 100, dtype=np.uint16)).save(train / "0001_c1s1_000205_01.png")
    picture(train / "0001_c1s1_000206_01.tif")
    picture(train / "0001_c1s1_000207_01.bmp")
    picture(train / "0001_c1s1_000208_01.png", mode="1")
    built(tmp_path, {"m": source})
    numbers = range(201, 209)
    names = {number: path.name for number in numbers for path in train.glob(f"0001_c1s1_000{number}_01.*")}
    images = {number: decoded(tmp_path, names[number]) for number in numbers}
    assert {image.mode for image in images.values()} == {"RGB"}
    assert {image.size for image in images.values()} == {(16, 40)}
    assert [images[number].format for number in numbers] == ["JPEG", "JPEG", *["PNG"] * 6]
    assert images[204].getpixel((3, 3)) == (255, 255, 255)
    assert images[205].getpixel((3, 3)) == (100, 100, 100)
    for number in (206, 207):
        assert np.array_equal(np.asarray(images[number]), np.asarray(Image.open(train / names[number])))


def test_a_rotated_image_is_turned_the_right_way(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new("RGB", (40, 16), "black")
    stored.paste("white", (0, 0, 20, 16))  # the left half; upright it is the upper one
    stored.save(source.folder / "bounding_box_train/0001_c1s1_000201_01.jpg", exif=exif, quality=95)
    built(tmp_path, {"m": source})
    upright = np.asarray(decoded(tmp_path, "0001_c1s1_000201_01.jpg"))
    assert upright[:18].min() > 240 and upright[22:].max() < 15


def test_grey_and_8_bit_png_files_keep_their_bytes(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    train = source.folder / "bounding_box_train"
    kept = [picture(train / "0001_c1s1_000201_01.jpg", mode="L"), picture(train / "0001_c1s1_000202_01.png")]
    built(tmp_path, {"m": source})
    found = rows(tmp_path / "out")
    assert all(found[f"bounding_box_train/{path.name}"]["image"] == path.read_bytes() for path in kept)


def test_sources_are_combined_under_their_names(tmp_path: Path) -> None:
    for number, kind in enumerate(("occluded", "partial", "whole")):
        picture(tmp_path / f"p/{kind}_body_images/003_001.jpg", number)
    sources = {"m": market(tmp_path / "raw"), "p": SourceFiles("partial_reid", tmp_path / "p")}
    summary = built(tmp_path, sources)
    assert summary["sources"]["p"]["query"] == {"ids": 1, "images": 2}
    # Both sources number an identity 3; they are two people.
    assert summary["splits"]["query"] == {"ids": 3, "images": 4}
    assert {shard["file"] for shard in summary["shards"]} >= {
        "query/m-00000.parquet",
        "query/p-00000.parquet",
    }


def test_queries_without_a_match_are_counted_and_named(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    (source.folder / "bounding_box_test/0003_c2s1_000001_01.jpg").write_bytes(b"")
    summary = built(tmp_path, {"m": source})
    assert summary["queries_without_match"] == {"count": 1, "first": ["m/query/0003_c1s1_000001_00.jpg"]}
    assert "m/query/0003_c1s1_000001_00.jpg" in (tmp_path / "out/dataset.html").read_text()
    assert any("1 queries have no match" in line for line in warnings(summary))


def test_left_out_images_are_counted(tmp_path: Path) -> None:
    summary = built(tmp_path, {"m": market(tmp_path / "raw")}, protocol="fg_reid", other_share=0)
    # Identity 2 wears other clothes and trains: its two images are in neither group.
    assert summary["left_out"] == 2
    assert summary["groups"]["black"]["train"] == {"ids": 1, "images": 2}
    assert warnings(summary)[-1] == "2 images have no role in protocol fg_reid"


def test_page_and_table_show_the_counts_and_nothing_from_outside(tmp_path: Path) -> None:
    summary = built(tmp_path, {"m": market(tmp_path / "raw")}, name="<b>&shop")
    page = (tmp_path / "out/dataset.html").read_text()
    assert "&lt;b&gt;&amp;shop" in page and "<b>&shop" not in page
    assert "http" not in page and page.count("data:image/jpeg;base64,") == 3
    table = counts_table(summary)
    assert [column._cells[0] for column in table.columns] == ["all", "2", "4", "2", "2", "2", "5"]


def test_progress_reaches_the_end_of_every_step(tmp_path: Path) -> None:
    last: dict[str, tuple[int, int]] = {}
    built(
        tmp_path,
        {"m": market(tmp_path / "raw")},
        progress=lambda step, done, total: last.update({step: (done, total)}),
    )
    assert last == {"check m": (11, 11), "write": (11, 11)}


def test_an_earlier_dataset_is_replaced_and_survives_a_failed_build(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")
    built(tmp_path, {"m": source})
    (tmp_path / "out/train/m-00007.parquet").touch()
    built(tmp_path, {"m": source})
    assert not (tmp_path / "out/train/m-00007.parquet").exists()
    kept = (tmp_path / "out/dataset.json").read_bytes()
    (source.folder / "clothing.csv").write_text("pid,colour\n1,green\n")
    with pytest.raises(CuhsError, match="'green'"):
        built(tmp_path, {"m": source})
    assert (tmp_path / "out/dataset.json").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_a_file_that_changes_under_the_build_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    source = market(tmp_path / "raw")

    def cut(step: str, done: int, total: int) -> None:
        if done == total and step == "check m":
            (source.folder / "query/0003_c1s1_000001_00.jpg").write_bytes(b"")

    with pytest.raises(CuhsError, match=r"0003_c1s1_000001_00\.jpg: changed while the dataset was built"):
        built(tmp_path, {"m": source}, progress=cut)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_folder_that_is_no_dataset_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(CuhsError, match=r"out: exists and is not a built dataset"):
        built(tmp_path, {"m": market(tmp_path / "raw")})
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


def test_a_source_name_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"data\.sources: '\.\./m'"):
        built(tmp_path, {"../m": market(tmp_path / "raw")})


def test_a_split_file_for_a_layout_that_has_its_own_is_refused(tmp_path: Path) -> None:
    source = SourceFiles("market1501", market(tmp_path / "raw").folder, split=tmp_path / "split.mat")
    with pytest.raises(CuhsError, match=r"data\.sources\.m\.split: only the cuhk03 layout"):
        built(tmp_path, {"m": source})


def test_a_dataset_of_bad_files_only_is_an_error(tmp_path: Path) -> None:
    for kind in ("occluded", "whole"):
        (tmp_path / f"raw/{kind}_body_images").mkdir(parents=True)
        (tmp_path / f"raw/{kind}_body_images/001_01.tif").write_bytes(b"")
    with pytest.raises(CuhsError, match=r"no usable image.*empty file"):
        built(tmp_path, {"o": SourceFiles("occluded_reid", tmp_path / "raw")})


def test_summary_is_plain_json(tmp_path: Path) -> None:
    summary = built(tmp_path, {"m": market(tmp_path / "raw")})
    assert json.loads(json.dumps(summary)) == summary
