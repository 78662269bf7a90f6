"""Reads features of any model from files: Parquet, or an array with a table beside it.

==========  ==============  ==========================================================================
column      type            meaning
==========  ==============  ==========================================================================
feature     list of floats  all of one length; not in a CSV file, which has an array beside it
pid         text or int     identity; a negative number marks a junk row
camid       text or int     camera
junk        bool            optional: rows that ranking ignores
path        text            optional: names the image in messages
==========  ==============  ==========================================================================

Identities and cameras are names and are compared as text: ``0001`` stays ``0001``, and ``2024-01-01`` is not a date.
Integers become the text in which they are written.
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
    """Read ``SPLIT.parquet``, or ``SPLIT.npy`` with ``SPLIT.csv``; the array is memory-mapped.

    Raises:
        CuhsError: files are missing, unreadable, or do not fit each other.
    """
    parquet, array, labels = (folder / f"{split}.{suffix}" for suffix in ("parquet", "npy", "csv"))
    if parquet.is_file():
        return read_parquet(parquet)
    if not folder.is_dir():
        raise CuhsError(f"{folder}: no such folder")
    if not (array.is_file() and labels.is_file()):
        raise CuhsError(f"{folder}: needs {split}.parquet, or {split}.npy with {split}.csv")
    table = _try(labels, lambda: _read_csv(labels))
    if not len(table):
        raise CuhsError(f"{labels}: no rows below the header")
    features = _array(array)
    if features.ndim != 2 or len(features) != len(table):
        raise CuhsError(f"{array}: an array of shape {features.shape} beside {len(table)} rows in {labels.name}")
    return _split(table, features, labels)


def read_parquet(file: Path) -> Features:
    """Read all rows of a Parquet file.

    Raises:
        CuhsError: it is unreadable, or its columns are missing or of other types.
    """
    table = _try(file, lambda: pq.read_table(file, partitioning=None))
    return _split(table, _features(table, file), file)


def count(file: Path) -> int:
    """The number of rows of a Parquet file, from its footer.

    Raises:
        CuhsError: it is unreadable.
    """
    return _try(file, lambda: pq.read_metadata(file).num_rows)


def batches(file: Path, rows: int) -> Iterator[Features]:
    """Read a Parquet file, ``rows`` rows at a time.

    Raises:
        CuhsError: it is unreadable, or its columns are missing or of other types.
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
    except Exception as error:  # whatever a foreign reader raises
        raise CuhsError(f"{file}: unreadable ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _read_csv(file: Path) -> pa.Table:
    """All columns but ``junk`` as text: a reader that guesses types would turn names into numbers and dates."""
    names = csv.open_csv(file).schema.names
    kinds = {name: pa.bool_() if name.strip() == "junk" else pa.string() for name in names}
    table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=kinds))
    return table.rename_columns([name.strip() for name in names])


def _array(file: Path) -> np.ndarray:
    """The (N, D) array of a ``.npy`` file, memory-mapped."""
    try:
        found = np.load(file, mmap_mode="r")
    except Exception as error:  # whatever numpy and zipfile raise
        raise CuhsError(f"{file}: no array ({_reason(error)}); write it with numpy.save") from error
    if not isinstance(found, np.ndarray):
        raise CuhsError(f"{file}: no array but an archive (.npz, or torch.save); write it with numpy.save")
    if found.dtype.kind not in "fiu" or found.dtype.itemsize > 8:
        raise CuhsError(f"{file}: holds {found.dtype}; write it as float32")
    return found


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
    """Features with the labels of a table, whose first row is row ``start`` of the file."""
    pids, camids = _labels(table, "pid", file), _labels(table, "camid", file)
    junk = np.char.startswith(pids, "-") & np.char.isdigit(np.char.lstrip(pids, "-"))
    if "junk" in table.schema.names:
        column = _column(table, "junk", file)
        if not pa.types.is_boolean(column.type):
            raise CuhsError(f"{file}: column 'junk' must hold true or false, it holds {column.type}")
        junk |= column.to_numpy(zero_copy_only=False)
    if "path" in table.schema.names:
        names = table.column("path").to_pylist()
    else:
        names = [f"row {i} of {file.name}" for i in range(start, start + len(table))]
    return Features(features, pids, camids, names, junk=junk)


def _labels(table: pa.Table, name: str, file: Path) -> np.ndarray:
    """(N,) text of a column of names, whatever its Arrow type."""
    column = _column(table, name, file)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            column = column.cast(pa.large_binary()).cast(pa.large_string())
        except pa.ArrowException as error:
            raise CuhsError(f"{file}: column {name!r} holds bytes that are not UTF-8; write text") from error
    elif not (pa.types.is_integer(kind) or _is_text(kind)):
        raise CuhsError(f"{file}: column {name!r} must hold text or integers, it holds {kind}{_mend(column)}")
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    if empty := pc.sum(pc.equal(text, "")).as_py():
        raise CuhsError(f"{file}: column {name!r} has {empty} empty values")
    if len(text) and pc.all(pc.match_substring_regex(text, r"^-?\d+\.0*$")).as_py():
        written, meant = str(text[0]), str(text[0]).partition(".")[0]
        raise CuhsError(f"{file}: column {name!r} holds {written} and the like; write integers, such as {meant}")
    return np.asarray(text.to_numpy(zero_copy_only=False), dtype=str)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _mend(column: pa.Array) -> str:
    """Advice on what to write instead, if there is any."""
    if not pa.types.is_floating(column.type):
        return ""
    return f"; write {column[0].as_py():g} as an integer" if len(column) else "; write integers"


def _column(table: pa.Table, name: str, file: Path) -> pa.Array:
    count = table.schema.names.count(name)
    if count != 1:
        problem = f"no column {name!r}" if not count else f"{count} columns {name!r}"
        raise CuhsError(f"{file}: {problem} among {', '.join(table.schema.names)}")
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise CuhsError(f"{file}: column {name!r} has {column.null_count} empty values")
    return column
