"""Clothing colour labels of identities."""

import csv
from collections.abc import Collection
from pathlib import Path

from cuhs.errors import CuhsError

COLOURS = ("black", "white", "other")


def read_colours(path: Path, known: Collection[int]) -> dict[int, str]:
    """Read a label file with the columns ``pid,colour``: upper-body colour of each identity.

    Args:
        path: the CSV file.
        known: the identities of the source.

    Raises:
        CuhsError: the file is missing or has other columns; a colour is not one of :data:`COLOURS`; an
            identity is not a number, comes twice, or is not in ``known``. The message names file and row.
    """
    colours: dict[int, str] = {}
    for row, record in read_rows(path, ("pid", "colour")):
        try:
            pid = int(record["pid"])
        except ValueError as error:
            raise CuhsError(f"{path}, row {row}: pid {record['pid']!r} is not a number") from error
        if record["colour"] not in COLOURS:
            raise CuhsError(f"{path}, row {row}: colour {record['colour']!r} is not one of {', '.join(COLOURS)}")
        if pid in colours:
            raise CuhsError(f"{path}, row {row}: identity {pid} has a label already; keep one row for it")
        if pid not in known:
            raise CuhsError(f"{path}, row {row}: identity {pid} has no image in the source; remove the row")
        colours[pid] = record["colour"]
    return colours


def read_rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file as (line number, values of ``columns`` without surrounding blanks).

    Raises:
        CuhsError: the file is missing, is not text, lacks a column, or a row lacks a value.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise CuhsError(f"{path}: no column {', '.join(missing)}; the header must be {','.join(columns)}")
            rows = []
            for record in reader:
                values = {column: (record[column] or "").strip() for column in columns}
                if not all(values.values()):
                    raise CuhsError(f"{path}, row {reader.line_num}: a value is missing; give {','.join(columns)}")
                rows.append((reader.line_num, values))
            return rows
    except FileNotFoundError as error:
        raise CuhsError(f"{path}: no such annotation file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CuhsError(f"{path}: not a readable CSV file ({error})") from error
