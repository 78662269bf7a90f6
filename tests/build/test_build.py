import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cuhs.build import decode as inspection
from cuhs.build.report.page import warnings
from cuhs.data.shards import read_summary
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.sources import raw_bytes

Market = Callable[[Path], Source]
Picture = Callable[..., Path]
Built = Callable[..., dict]
Rows = Callable[..., dict[str, dict]]


def test_rows_carry_labels_boxes_and_the_files_own_bytes(
    tmp_path: Path, market: Market, built: Built, rows: Rows
) -> None:
    source = market(tmp_path / "raw")
    summary = built({"m": source})
    found = rows()
    query = found["query/0003_c1s1_000001_00.jpg"]
    assert query.pop("image") == (source.folder / "query/0003_c1s1_000001_00.jpg").read_bytes()
    assert query == {
        "pid": "m/0003",
        "camid": "m/1",
        "source": "m",
        "colour": "black",
        "colour_origin": "label",
        "colour_confidence": None,
        "box": [0.0, 0.0, 0.5, 0.25],
        "box_origin": "annotation",
        "path": "query/0003_c1s1_000001_00.jpg",
        "groups": ["all", "black"],
        "junk": False,
    }
    junk = found["bounding_box_test/-1_c3s1_000001_01.jpg"]
    assert (junk["pid"], junk["junk"], junk["box"], junk["box_origin"]) == ("m/-1", True, None, None)
    assert (junk["colour"], junk["colour_origin"]) == ("other", None)
    assert len(found) == 11
    assert summary["dropped_boxes"] == [
        {
            "source": "m",
            "file": "bounding_box_train/0001_c1s1_000001_01.jpg",
            "reason": "outside the image of 16×40 pixels",
        },
        {"source": "m", "file": "absent.jpg", "reason": "names no image of the source"},
    ]


def test_summary_counts_people_without_distractors_and_junk(tmp_path: Path, market: Market, built: Built) -> None:
    summary = built({"m": market(tmp_path / "raw")}, seed=7)
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
    nothing = {"annotation": 0, "keypoints": 0, "detected": 0, "fixed": 0}
    assert summary["boxes"]["query"] == nothing | {"annotation": 1, "none": 1}
    assert summary["boxes"]["train"] == nothing | {"none": 4}
    assert {
        key: summary[key] for key in ("seed", "cameras", "distractors", "junk", "left_out", "colour_origins")
    } == {
        "seed": 7,
        "cameras": {"m": 3},
        "distractors": 1,
        "junk": 1,
        "left_out": 0,
        "colour_origins": {"m": {"label": 3, "classifier": 0, "none": 1}},
    }
    assert summary["queries_without_match"] == {"count": 0, "first": []}
    assert [shard["rows"] for shard in summary["shards"]] == [4, 2, 5]


@pytest.mark.parametrize("protocol", ["benchmark", "fg_reid", "fg_reid_v2"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, protocol: str, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    built({"m": source}, "a", protocol=protocol)
    built({"m": source}, "b", protocol=protocol)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 5
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_the_version_follows_the_content(tmp_path: Path, picture: Picture, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    before = built({"m": source})["version"]
    picture(source.folder / "query/0003_c1s1_000001_00.jpg", seed=99)
    assert built({"m": source})["version"] != before


def test_sources_are_combined_under_their_names(
    tmp_path: Path, picture: Picture, market: Market, built: Built
) -> None:
    for number, kind in enumerate(("occluded", "partial", "whole")):
        picture(tmp_path / f"p/{kind}_body_images/003_001.jpg", 100 + number)
    sources = {
        "m": market(tmp_path / "raw"),
        "p": Source(classify=False, layout="partial_reid", folder=tmp_path / "p"),
    }
    summary = built(sources)
    assert summary["sources"]["p"]["query"] == {"ids": 1, "images": 2}
    # Both sources number an identity 3; they are two people.
    assert summary["splits"]["query"] == {"ids": 3, "images": 4}
    assert {shard["file"] for shard in summary["shards"]} >= {
        "query/m-00000.parquet",
        "query/p-00000.parquet",
    }


def test_bad_files_go_to_quarantine_and_stop_nothing(
    tmp_path: Path, picture: Picture, market: Market, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw")
    train = source.folder / "bounding_box_train"
    (train / "0001_c1s1_000101_01.jpg").write_bytes(b"")
    picture(train / "0001_c1s1_000102_01.png", size=(1, 1))
    picture(train / "holiday.jpg")
    (train / "0001_c1s1_000103_01.jpg").symlink_to(train / "gone.jpg")
    picture(train / "0001_c1s1_000104_01.jpg")
    refuse = PermissionError(errno.EACCES, "Permission denied")

    def guarded(files: Source, path: str) -> bytes:
        if path.endswith("000104_01.jpg"):
            raise refuse
        return raw_bytes(files, path)

    monkeypatch.setattr(inspection, "raw_bytes", guarded)
    summary = built({"m": source})
    expected = {
        "holiday.jpg": "the name does not follow the layout",
        "0001_c1s1_000101_01.jpg": "empty file",
        "0001_c1s1_000102_01.png": "1×1 pixels; a side is under 8",
        "0001_c1s1_000103_01.jpg": "unreadable: No such file or directory",
        "0001_c1s1_000104_01.jpg": "unreadable: Permission denied",
    }
    assert {item["path"].partition("/")[2]: item["reason"] for item in summary["quarantine"]} == expected
    assert summary["splits"]["train"] == {"ids": 2, "images": 4}
    page = (tmp_path / "out/dataset.html").read_text()
    assert all(f"bounding_box_train/{name}" in page for name in expected)
    assert any(line.startswith("5 files in quarantine") for line in warnings(summary))


def test_queries_without_a_match_are_counted_and_named(tmp_path: Path, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    (source.folder / "bounding_box_test/0003_c2s1_000001_01.jpg").write_bytes(b"")
    summary = built({"m": source})
    assert summary["queries_without_match"] == {"count": 1, "first": ["m/query/0003_c1s1_000001_00.jpg"]}
    assert "m/query/0003_c1s1_000001_00.jpg" in (tmp_path / "out/dataset.html").read_text()
    assert any("1 queries have no true match" in line for line in warnings(summary))


def test_a_training_identity_of_one_image_is_told(tmp_path: Path, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    (source.folder / "bounding_box_train/0002_c1s1_000001_01.jpg").unlink()
    summary = built({"m": source})
    assert summary["single_image_identities"] == {"count": 1, "first": ["m/0002"]}
    assert any(line.startswith("1 training identities have a single image") for line in warnings(summary))


def test_left_out_images_are_counted(tmp_path: Path, market: Market, built: Built) -> None:
    summary = built({"m": market(tmp_path / "raw")}, protocol="fg_reid", other_share=0)
    # Identity 2 wears other clothes and trains: its two images are in neither group.
    assert summary["left_out"] == 2
    assert summary["groups"]["black"]["train"] == {"ids": 1, "images": 2}
    assert warnings(summary)[-1] == "2 images have no role in protocol fg_reid"


def test_progress_reaches_the_end_of_every_step(tmp_path: Path, market: Market, built: Built) -> None:
    last: dict[str, tuple[int, int]] = {}
    built(
        {"m": market(tmp_path / "raw")},
        progress=lambda step, done, total: last.update({step: (done, total)}),
    )
    assert last == {"check m": (11, 11), "write": (11, 11)}


def test_an_earlier_dataset_is_replaced_and_survives_a_failed_build(
    tmp_path: Path, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")
    built({"m": source})
    (tmp_path / "out/train/m-00007.parquet").touch()
    built({"m": source})
    assert not (tmp_path / "out/train/m-00007.parquet").exists()
    kept = (tmp_path / "out/dataset.json").read_bytes()
    (source.folder / "clothing.csv").write_text("pid,colour\n1,green\n")
    with pytest.raises(CuhsError, match="'green'"):
        built({"m": source})
    assert (tmp_path / "out/dataset.json").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_a_folder_that_is_no_dataset_is_never_overwritten(tmp_path: Path, market: Market, built: Built) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(CuhsError, match=r"out: exists and is not a built dataset"):
        built({"m": market(tmp_path / "raw")})
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


def test_a_source_name_that_is_no_file_name_is_refused(tmp_path: Path, market: Market, built: Built) -> None:
    with pytest.raises(CuhsError, match=r"data\.sources: '\.\./m'"):
        built({"../m": market(tmp_path / "raw")})


def test_a_split_file_for_a_layout_that_has_its_own_is_refused(tmp_path: Path, market: Market, built: Built) -> None:
    source = Source(
        classify=False, layout="market1501", folder=market(tmp_path / "raw").folder, split=tmp_path / "split.mat"
    )
    with pytest.raises(CuhsError, match=r"data\.sources\.m\.split: only the cuhk03 layout"):
        built({"m": source})


def test_a_dataset_of_bad_files_only_is_an_error(tmp_path: Path, built: Built) -> None:
    for kind in ("occluded", "whole"):
        (tmp_path / f"raw/{kind}_body_images").mkdir(parents=True)
        (tmp_path / f"raw/{kind}_body_images/001_01.tif").write_bytes(b"")
    with pytest.raises(CuhsError, match=r"no usable image.*empty file"):
        built({"o": Source(classify=False, layout="occluded_reid", folder=tmp_path / "raw")})


def test_summary_is_plain_json(tmp_path: Path, market: Market, built: Built) -> None:
    summary = built({"m": market(tmp_path / "raw")})
    assert json.loads(json.dumps(summary)) == summary
