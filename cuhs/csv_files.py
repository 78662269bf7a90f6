"""CSV files that people also open in a spreadsheet.

A spreadsheet runs a value that begins with one of ``= + - @`` as a formula, and identities, cameras and paths may
begin with anything. Text of this kind is written behind an apostrophe, which spreadsheets show as plain text, and
read without it. So it comes back as it was.
"""

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from cuhs.errors import CuhsError

# Also the full-width forms of the four signs, and what a spreadsheet drops before it looks. An apostrophe of the
# text's own in front of these gets another one.
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; numbers stay numbers, None is an empty value, and no text acts as a formula.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        # Without the carriage return here, the writer would not quote one in a value.
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow([_shown(name) for name in header])
        writer.writerows([_shown(value) for value in row] for row in rows)


def read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), may_be_empty: Collection[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table as (line number, values by column), without the spaces around names and values.

    Args:
        path: the file, UTF-8 with or without a byte-order mark.
        columns: columns that must be there; further ones are ignored.
        optional: columns that are read if they are there.
        may_be_empty: columns in which a value may be missing.

    Raises:
        CuhsError: the file is missing, is no CSV file, lacks a column or has one twice, or a row lacks a value or has
            more of them than there are columns. The message names the file and the row.
    """
    if not path.is_file():  # a pipe or device would be read for ever
        raise CuhsError(f"{path}: {'not a file' if path.exists() else 'no such annotation file'}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(path, file, columns, optional, may_be_empty)
    except (OSError, UnicodeDecodeError) as error:
        raise CuhsError(f"{path}: not a readable CSV file ({error}); save it as CSV in UTF-8") from error


def _read(
    path: Path, file: Iterable[str], columns: Sequence[str], optional: Sequence[str], may_be_empty: Collection[str]
) -> list[tuple[int, dict[str, str]]]:
    reader = csv.reader(file)
    rows = []
    try:
        header = [_meant(name.strip()) for name in next(reader, [])]
        wanted = [*columns, *(name for name in optional if name in header)]
        missing = [name for name in columns if name not in header]
        if missing:
            advice = f"the header must be {','.join(columns)}"
            if other := [mark for mark in ";\t|" if len(header) == 1 and mark in header[0]]:
                advice = f"separate values with commas, not with {other[0]!r}"
            raise CuhsError(f"{path}: no column {', '.join(missing)}; {advice}")
        if twice := [name for name in wanted if header.count(name) > 1]:
            raise CuhsError(f"{path}: column {twice[0]} is there twice; keep one of them")
        places = {name: header.index(name) for name in wanted}
        for row in reader:
            values = [value.strip() for value in row]
            if not row:
                continue
            where = f"{path}, row {reader.line_num}"
            if any(values[len(header) :]):
                raise CuhsError(
                    f"{where}: {len(values)} values for {len(header)} columns; put a value with a comma in quotes"
                )
            values += [""] * (len(header) - len(values))
            record = {name: _meant(values[place]) for name, place in places.items()}
            if not all(record[name] for name in wanted if name not in may_be_empty):
                raise CuhsError(f"{where}: a value is missing; give {','.join(wanted)}")
            rows.append((reader.line_num, record))
    except csv.Error as error:
        raise CuhsError(
            f"{path}, row {reader.line_num}: not a readable CSV file ({error}); is a quotation mark missing?"
        ) from error
    return rows


def _shown(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _meant(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
