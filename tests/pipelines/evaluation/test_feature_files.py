"""Features read from files as anyone may have written them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
    assert split.pids.tolist() == [1, 2, -1, 2]
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
    assert split.camids.tolist() == [1, 1, 2, 1]
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
        ({"pid": [0.5, 1.0, 2.0, 3.0]}, "'pid' must hold integers or text, it holds double"),
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
    with pytest.raises(CuhsError, match=r"query\.npy: unreadable"):
        feature_files.read(tmp_path, "query")
