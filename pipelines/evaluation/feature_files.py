"""Features that anyone extracted, read from files: Parquet, or an array with a table beside it.

==========  ==============  ==========================================================================
column      type            meaning
==========  ==============  ==========================================================================
feature     list of floats  all of one length; not in a CSV file, whose array stands beside it
pid         int or string   identity; a negative number marks a junk row
camid       int or string   camera
junk        bool            optional: rows that ranking ignores
path        string          optional: names the image in messages
==========  ==============  ==========================================================================
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features

T = TypeVar("T")


def read(folder: Path, split: str) -> Features:
    """``SPLIT.parquet``, or ``SPLIT.npy`` with ``SPLIT.csv``; the array is mapped, not read.

    Raises:
        CuhsError: files are missing, unreadable, or do not fit one another.
    """
    parquet, array, labels = (folder / f"{split}.{suffix}" for suffix in ("parquet", "npy", "csv"))
    if parquet.is_file():
        return read_parquet(parquet)
    if not (array.is_file() and labels.is_file()):
        raise CuhsError(f"{folder}: needs {split}.parquet, or {split}.npy with {split}.csv")
    table = _try(labels, lambda: csv.read_csv(labels))
    features = _try(array, lambda: np.load(array, mmap_mode="r"))
    if features.ndim != 2 or len(features) != len(table):
        raise CuhsError(f"{array}: an array of shape {features.shape} beside {len(table)} rows in {labels.name}")
    return _split(table, features, labels)


def read_parquet(file: Path) -> Features:
    """All rows of a Parquet file.

    Raises:
        CuhsError: it is unreadable, or its columns are not what they should be.
    """
    table = _try(file, lambda: pq.read_table(file, partitioning=None))
    return _split(table, _features(table, file), file)


def count(file: Path) -> int:
    """Rows of a Parquet file, from its footer.

    Raises:
        CuhsError: it is unreadable.
    """
    return _try(file, lambda: pq.read_metadata(file).num_rows)


def batches(file: Path, rows: int) -> Iterator[Features]:
    """A Parquet file some rows at a time.

    Raises:
        CuhsError: it is unreadable, or its columns are not what they should be.
    """
    reader = _try(file, lambda: pq.ParquetFile(file).iter_batches(rows))
    start = 0
    while (batch := _try(file, lambda: next(reader, None))) is not None:
        table = pa.Table.from_batches([batch])
        yield _split(table, _features(table, file), file, start)
        start += len(batch)


def _try(file: Path, reader: Callable[[], T]) -> T:
    try:
        return reader()
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise CuhsError(f"{file}: unreadable ({reason})") from error


def _features(table: pa.Table, file: Path) -> np.ndarray:
    """(N, D) of the column ``feature``."""
    column = _column(table, "feature", file)
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise CuhsError(f"{file}: column 'feature' must hold lists of floats, it holds {kind}")
    values, lengths = column.flatten(), pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1 or values.null_count:
        raise CuhsError(f"{file}: column 'feature' must hold lists of one length, without gaps")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), *lengths or [0])


def _split(table: pa.Table, features: np.ndarray, file: Path, start: int = 0) -> Features:
    """The rows of a table, which are those of a file from ``start``, with their features."""
    pids, camids = _labels(table, "pid", file), _labels(table, "camid", file)
    junk = None
    if "junk" in table.schema.names:
        column = _column(table, "junk", file)
        if not pa.types.is_boolean(column.type):
            raise CuhsError(f"{file}: column 'junk' must hold true or false, it holds {column.type}")
        junk = column.to_numpy(zero_copy_only=False)
    if "path" in table.schema.names:
        names = table.column("path").to_pylist()
    else:
        names = [f"row {i} of {file.name}" for i in range(start, start + len(table))]
    return Features(features, pids, camids, names, junk=junk)


def _labels(table: pa.Table, name: str, file: Path) -> np.ndarray:
    column = _column(table, name, file)
    if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        raise CuhsError(f"{file}: column {name!r} must hold integers or text, it holds {column.type}")
    values = column.to_numpy(zero_copy_only=False)
    return values if pa.types.is_integer(column.type) else values.astype(str)


def _column(table: pa.Table, name: str, file: Path) -> pa.Array:
    if name not in table.schema.names:
        raise CuhsError(f"{file}: no column {name!r} among {', '.join(table.schema.names)}")
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise CuhsError(f"{file}: column {name!r} has {column.null_count} empty values")
    return column
