"""Clothing colour labels of identities."""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from cuhs.csv_files import read_csv
from cuhs.errors import CuhsError
from cuhs.raw.records import written

COLOURS = ("black", "white", "other")


def read_colours(path: Path, known: Collection[int | str]) -> dict[int | str, str]:
    """Read a label file with the columns ``pid,colour``: upper-body colour of each identity.

    Args:
        path: the CSV file. Numbers may have leading zeros.
        known: identities of the source.

    Raises:
        CuhsError: the file is missing or has other columns; a colour is not one of :data:`COLOURS`; or an identity
            occurs twice or is not in ``known``. The message names file and row.
    """
    by_name = {written(pid): pid for pid in known}
    colours: dict[int | str, str] = {}
    for row, record in read_csv(path, ("pid", "colour")):
        pid = by_name.get(written(record["pid"]))
        if record["colour"] not in COLOURS:
            raise CuhsError(f"{path}, row {row}: colour {record['colour']!r} is not one of {', '.join(COLOURS)}")
        if pid is None:
            raise CuhsError(
                f"{path}, row {row}: identity {record['pid']} has no image in the source, whose identities look "
                f"like {min(by_name, default='nothing')}; {remedy(record['pid'], by_name)}"
            )
        if pid in colours:
            raise CuhsError(f"{path}, row {row}: identity {record['pid']} has a label already; keep one row for it")
        colours[pid] = record["colour"]
    return colours


def remedy(name: str, known: Collection[str]) -> str:
    """Say what to do about an identity in a file that is not among the ``known`` ones, as they are written."""
    before, slash, last = name.rpartition("/")
    pid = written(last.partition(".")[0] if re.fullmatch(r"\d+\.0+", last) else last)
    if f"{before}{slash}{pid}" in known:
        return f"write {before}{slash}{pid}: a spreadsheet has made a decimal number of it"
    if pid in known:
        return f"write {pid}: the labels of a source go without its name"
    if with_source := min((other for other in known if other.endswith(f"/{pid}")), default=""):
        return f"write {with_source}, with the name of its source"
    return "remove the row"


def read_attributes(path: Path, variable: str, known: Collection[int | str]) -> dict[int | str, str]:
    """Read the published attributes of Market-1501 or DukeMTMC-reID (Lin et al., Pattern Recognition 2019).

    ``upblack`` and ``upwhite`` of an identity are 2 for yes; an identity with neither is ``other``. Identities
    without an image in the source are skipped.

    Args:
        path: ``market_attribute.mat`` or ``duke_attribute.mat``.
        variable: ``market_attribute`` or ``duke_attribute``.
        known: identities of the source.

    Raises:
        CuhsError: the file is missing, unreadable or of another kind, or describes none of ``known``.
    """
    from cuhs.raw.layouts import matlab

    content = matlab.load(path, "annotation file")
    by_name = {written(pid): pid for pid in known}
    colours: dict[int | str, str] = {}
    try:
        parts = content[variable][0, 0]
        for part in (parts["train"][0, 0], parts["test"][0, 0]):
            names = [written(str(np.ravel(name)[0])) for name in np.ravel(part["image_index"])]
            black, white = (np.ravel(part[key]) == 2 for key in ("upblack", "upwhite"))
            worn = np.where(black, "black", np.where(white, "white", "other")).tolist()
            colours |= {by_name[name]: colour for name, colour in zip(names, worn, strict=True) if name in by_name}
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise CuhsError(f"{path}: not {variable}.mat as published ({error}); copy it again") from error
    if not colours:
        raise CuhsError(f"{path}: describes no identity of the source; is it the label file of another dataset?")
    return colours
