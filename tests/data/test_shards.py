"""Parquet shards: what is written comes back, what cannot be read is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuhs.data.shards import SCHEMA, read_split, read_summary, write_shard
from cuhs.errors import CuhsError

ROW = {
    "image": b"\xff\xd8\x00bytes",
    "pid": "market1501/0002",
    "camid": "market1501/1",
    "source": "market1501",
    "colour": "white",
    "colour_origin": "classifier",
    "colour_confidence": 0.75,
    "box": [0.0, 0.125, 1.0, 0.5],
    "box_origin": "keypoints",
    "path": "a/b.jpg",
    "groups": ["all", "white"],
    "junk": False,
}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    unknown = {"box": None, "box_origin": None, "colour_origin": None, "colour_confidence": None}
    rows = [ROW, ROW | unknown | {"pid": "market1501/0003", "junk": True}]
    write_shard(tmp_path / "train" / "m-00000.parquet", rows)
    table = read_split(tmp_path, "train")
    assert table.to_pylist() == rows and table.schema == SCHEMA


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name, iter([ROW] * 3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("z-00000", "a-00001", "a-00000"):
        write_shard(tmp_path / "query" / f"{name}.parquet", [ROW | {"path": name}])
    assert read_split(tmp_path, "query", ["path"])["path"].to_pylist() == ["a-00000", "a-00001", "z-00000"]


def test_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "query" / "m.parquet", [ROW])
    assert read_split(tmp_path, "query", ["pid", "camid"]).column_names == ["pid", "camid"]


def test_a_value_of_another_type_is_not_written(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        write_shard(tmp_path / "m.parquet", [ROW | {"pid": 2}])


def refused(root: Path) -> str:
    with pytest.raises(CuhsError) as error:
        read_split(root, "train")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[: len(b) // 2],
        lambda b: b"no parquet" * 50,
        lambda b: b[:4] + b"\0" * (len(b) - 8) + b[-4:],
    ],
    ids=["empty", "cut", "other", "zeroed"],
)
def test_a_corrupt_shard_is_named(tiny_dataset: Path, tmp_path: Path, damage: object) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "d")
    shard = tmp_path / "d" / "train" / "made-00001.parquet"
    shard.write_bytes(damage(shard.read_bytes()))
    message = refused(tmp_path / "d")
    assert message.startswith(f"{shard}: unreadable shard") and "rebuild" in message


def test_a_shard_of_another_layout_is_named(tiny_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "d")
    shard = tmp_path / "d" / "train" / "other.parquet"
    pq.write_table(pa.table({"pid": [1, 2]}), shard)
    assert str(shard) in refused(tmp_path / "d")


def test_a_shard_of_an_earlier_version_is_told_to_be_rebuilt_and_its_other_columns_are_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "train" / "m.parquet", [ROW])
    shard = tmp_path / "train" / "m.parquet"
    pq.write_table(pq.read_table(shard).drop_columns(["colour_origin", "colour_confidence"]), shard)
    assert refused(tmp_path) == (
        f"{shard}: no column colour_origin, colour_confidence, so another version built it; rebuild it: "
        "dvc repro -f build_dataset"
    )
    assert read_split(tmp_path, "train", ["pid"])["pid"].to_pylist() == [ROW["pid"]]


def test_a_split_without_shards_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path / 'train'}: no Parquet shard here; build the dataset first")


def test_the_summary_is_read(tmp_path: Path) -> None:
    summary = {"version": "abc", "name": "n", "protocol": "p", "groups": {"all": {"train": {"images": 1}}}, "junk": 2}
    (tmp_path / "dataset.json").write_text(json.dumps(summary))
    assert read_summary(tmp_path) == summary


def test_a_missing_summary_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"dataset\.json: missing; build the dataset first"):
        read_summary(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_no_shard(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "train").mkdir()
    make(tmp_path / "train/made-00000.parquet")
    assert refused(tmp_path).startswith(f"{tmp_path / 'train/made-00000.parquet'}: not a file; rebuild it")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"version": 3}', '{"version": "a", "groups": []}', "[" * 100_000]
)
def test_a_damaged_summary_is_named_with_what_to_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(CuhsError, match=r"dataset\.json: not a dataset's summary \(.*; build the dataset") as error:
        read_summary(tmp_path)
    assert "\n" not in str(error.value)
