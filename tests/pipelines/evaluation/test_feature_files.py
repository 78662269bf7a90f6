"""Features read from files as anyone may have written them."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cuhs.errors import CuhsError
from pipelines.evaluation import feature_files

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


def table(**columns: object) -> pa.Table:
    return pa.table({"feature": FEATURES.tolist(), "pid": [1, 2, -1, 2], "camid": ["a", "b", "a", "a"], **columns})


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float16()), pa.list_(pa.float32(), 3), pa.large_list(pa.float64())]
)
def test_a_parquet_file_of_any_kind_of_lists_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    lists = pa.array([[np.float16(v) for v in row] for row in FEATURES], kind)
    pq.write_table(table(feature=lists), tmp_path / "query.parquet")
    split = feature_files.read(tmp_path, "query")
    np.testing.assert_array_equal(split.values, FEATURES)
    assert split.pids.tolist() == ["1", "2", "-1", "2"]
    assert split.camids.tolist() == ["a", "b", "a", "a"]
    assert split.is_junk.tolist() == [False, False, True, False]
    assert split.names[3] == "row 3 of query.parquet"


def test_an_array_with_a_table_beside_it_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "gallery.npy", FEATURES.astype(np.float16))
    (tmp_path / "gallery.csv").write_text(
        "path,pid,camid,junk\na.jpg,p1,1,false\nb.jpg,p2,1,true\n,p1,2,0\nd,p3,1,1\n"
    )
    split = feature_files.read(tmp_path, "gallery")
    assert isinstance(split.values, np.memmap) and split.values.dtype == np.float16
    np.testing.assert_array_equal(split.values, FEATURES)
    assert split.pids.tolist() == ["p1", "p2", "p1", "p3"]
    assert split.camids.tolist() == ["1", "1", "2", "1"]
    assert split.is_junk.tolist() == [False, True, False, True]
    assert split.names[:2] == ["a.jpg", "b.jpg"]


def test_a_file_is_given_some_rows_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "part.parquet"
    pq.write_table(table(), file, row_group_size=3)
    assert feature_files.count(file) == 4
    parts = list(feature_files.batches(file, 3))
    assert [len(part) for part in parts] == [3, 1]
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), FEATURES)
    assert parts[1].names == ["row 3 of part.parquet"]


def test_a_split_without_rows_is_read(tmp_path: Path) -> None:
    pq.write_table(table().slice(0, 0), tmp_path / "query.parquet")
    assert len(feature_files.read(tmp_path, "query")) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"feature": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, "'feature' must hold lists of one length"),
        ({"feature": [[1.0], [None], [1.0], [1.0]]}, "'feature' must hold lists of one length, without gaps"),
        ({"feature": [[1.0], None, [1.0], [1.0]]}, "'feature' has 1 empty values"),
        ({"feature": [1.0, 2.0, 3.0, 4.0]}, "'feature' must hold lists of floats, it holds double"),
        ({"pid": [1, None, 2, 3]}, "'pid' has 1 empty values"),
        ({"pid": [5.0, 1.0, 2.0, 3.0]}, "'pid' must hold text or integers, it holds double; write 5 as an integer"),
        ({"junk": ["no"] * 4}, "'junk' must hold true or false, it holds string"),
    ],
)
def test_columns_of_another_kind_are_refused_by_name(tmp_path: Path, columns: dict, message: str) -> None:
    pq.write_table(table(**columns), tmp_path / "query.parquet")
    with pytest.raises(CuhsError, match=f"query.parquet: column {message}"):
        feature_files.read(tmp_path, "query")


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"needs query\.parquet, or query\.npy with query\.csv"):
        feature_files.read(tmp_path, "query")
    pq.write_table(table().drop_columns("camid"), tmp_path / "query.parquet")
    with pytest.raises(CuhsError, match=r"query\.parquet: no column 'camid' among feature, pid"):
        feature_files.read(tmp_path, "query")
    (tmp_path / "query.parquet").write_bytes(b"PAR1 cut off")
    for read in (feature_files.read_parquet, feature_files.count, lambda file: list(feature_files.batches(file, 2))):
        with pytest.raises(CuhsError, match=r"query\.parquet: unreadable"):
            read(tmp_path / "query.parquet")


def test_an_array_and_a_table_of_different_lengths_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "query.npy", FEATURES)
    (tmp_path / "query.csv").write_text("pid,camid\n1,1\n")
    with pytest.raises(CuhsError, match=r"query\.npy: an array of shape \(4, 3\) beside 1 rows in query\.csv"):
        feature_files.read(tmp_path, "query")
    (tmp_path / "query.npy").write_bytes(b"not an array")
    with pytest.raises(CuhsError, match=r"query\.npy: no array"):
        feature_files.read(tmp_path, "query")


def written(folder: Path, labels: str, split: str = "query", encoding: str = "utf-8") -> Path:
    """An array and a table of two rows."""
    np.save(folder / f"{split}.npy", FEATURES[:2])
    (folder / f"{split}.csv").write_text(labels, encoding=encoding)
    return folder


@pytest.mark.parametrize(
    "pid",
    ["0001", "2024-01-01", "123456789012345678901", "NaN", "null", "true", "12:30", "1e5", "José", "İstanbul 7"],
)
def test_identifiers_are_read_as_they_are_written(tmp_path: Path, pid: str) -> None:
    found = feature_files.read(written(tmp_path, f"pid,camid\n{pid},{pid}\n{pid},007\n"), "query")
    assert found.pids.tolist() == [pid, pid] and found.camids.tolist() == [pid, "007"]


def test_integers_and_text_meet_as_text(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "query.parquet")
    pq.write_table(table(pid=["1", "2", "-1", "x"]), tmp_path / "gallery.parquet")
    query, gallery = (feature_files.read(tmp_path, split) for split in ("query", "gallery"))
    assert query.pids.tolist() == ["1", "2", "-1", "2"]
    assert query.is_junk.tolist() == gallery.is_junk.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b", "-1", "é"], pa.large_string()),
        pa.array(["a", "b", "-1", "é"], pa.string_view()),
        pa.array(["a", "b", "-1", "é"]).dictionary_encode(),
        pa.array([item.encode() for item in ("a", "b", "-1", "é")], pa.binary()),
        pa.array([item.encode() for item in ("a", "b", "-1", "é")], pa.large_binary()),
    ],
    ids=lambda column: str(column.type),
)
def test_text_is_read_from_any_container(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(table(pid=column), tmp_path / "query.parquet")
    found = feature_files.read(tmp_path, "query")
    assert found.pids.tolist() == ["a", "b", "-1", "é"]
    assert found.is_junk.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("pid,camid\n1.0,1\n2.0,1\n", "column 'pid' holds 1.0 and the like; write integers, such as 1"),
        ("pid,camid\n1,\n2,1\n", "column 'camid' has 1 empty values"),
        ("pid,camid,pid\n1,1,2\n2,1,2\n", "2 columns 'pid' among pid, camid, pid"),
        ("", "unreadable"),
        ("pid,camid\n", "no rows"),
    ],
)
def test_tables_that_say_something_else_are_one_line(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(CuhsError, match=message):
        feature_files.read(written(tmp_path, labels), "query")


def test_text_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"query\.csv: unreadable \(.*UTF8"):
        feature_files.read(written(tmp_path, "pid,camid\nJosé,1\nAna,1\n", encoding="latin-1"), "query")
    pq.write_table(table(pid=["é".encode("latin-1")] * 4), tmp_path / "query.parquet")
    with pytest.raises(CuhsError, match="column 'pid' holds bytes that are not UTF-8; write text"):
        feature_files.read(tmp_path, "query")


def test_a_header_with_spaces_loses_no_column(tmp_path: Path) -> None:
    found = feature_files.read(written(tmp_path, "pid, camid\n1, a\n2, b\n"), "query")
    assert found.camids.tolist() == ["a", "b"]


def test_arrays_that_are_none_are_one_line(tmp_path: Path) -> None:
    written(tmp_path, "pid,camid\n1,1\n2,1\n")
    array = tmp_path / "query.npy"
    with array.open("wb") as file:
        np.savez(file, features=FEATURES)
    with pytest.raises(CuhsError, match=r"query\.npy: no array but an archive .* write it with numpy\.save"):
        feature_files.read(tmp_path, "query")
    torch.save(torch.zeros(2, 3), array)
    with pytest.raises(CuhsError, match=r"query\.npy: no array"):
        feature_files.read(tmp_path, "query")
    for values in (FEATURES[:2].astype(np.longdouble), FEATURES[:2].astype(complex), np.array([["a"], ["b"]])):
        with array.open("wb") as file:
            np.save(file, values)
        with pytest.raises(CuhsError, match=r"query\.npy: holds \S+; write it as float32"):
            feature_files.read(tmp_path, "query")
    for content in (b"", b"\x93NUMPY", b"PK\x03\x04"):
        array.write_bytes(content)
        with pytest.raises(CuhsError, match=r"query\.npy: no array .*; write it with numpy\.save"):
            feature_files.read(tmp_path, "query")


@pytest.mark.skipif(not os.environ.get("CUHS_CASES"), reason="CUHS_CASES names no folder of inputs that failed once")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pq_pandas_text", None),
        ("leading_zeros_one_text", None),
        ("date_camids", None),
        ("float_ids", "write integers, such as 0"),
        ("no_rows", "query.csv: no rows"),
        ("empty_npy_file", "query.npy: no array"),
        ("npz_as_npy", "query.npy: no array"),
        ("torch_saved", "query.npy: no array"),
        ("longdouble", "write it as float32"),
    ],
)
def test_inputs_that_failed_once(name: str, message: str | None) -> None:
    folder = Path(os.environ["CUHS_CASES"]) / "features" / name
    if message is None:
        for split in ("query", "gallery"):
            assert feature_files.read(folder, split).pids.dtype.kind == "U"
    else:
        with pytest.raises(CuhsError, match=re.escape(message)):
            for split in ("query", "gallery"):
                feature_files.read(folder, split)
