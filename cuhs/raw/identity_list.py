"""A user's list that assigns identities to training or testing, and to groups."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from cuhs.csv_files import read_csv
from cuhs.errors import CuhsError
from cuhs.raw.labels import remedy
from cuhs.raw.records import written

SIDES = ("train", "test")


@dataclass(frozen=True)
class IdentityList:
    """Roles of the listed identities; all others are left out.

    Attributes:
        sides: identity, such as ``market1501/0002``, → ``train`` or ``test``.
        groups: identity → its groups, sorted; empty if the file names no groups, so the protocol assigns them.
    """

    sides: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_identity_list(path: Path, known: Collection[str]) -> IdentityList:
    """Read a file with the columns ``pid,split`` or ``pid,split,group``.

    An identity in several groups has a row for each.

    Args:
        path: the CSV file. ``pid`` is an identity of the dataset, such as ``market1501/0002``, with or without
            leading zeros; ``split`` is ``train`` or ``test``; ``group`` is a name of letters, digits, ``-``, ``_``.
        known: the identities of all sources.

    Raises:
        CuhsError: the file is missing or has other columns; an identity is unknown, occurs twice or is in both
            splits; or a split or group name is invalid. The message names file and row.
    """
    rows = read_csv(path, ("pid", "split"), optional=("group",))
    people = set(known)
    listed = IdentityList()
    seen: dict[tuple[str, str], int] = {}
    for row, record in rows:
        where = f"{path}, row {row}"
        source, _, name = record["pid"].partition("/")
        pid, side = f"{source}/{written(name)}", record["split"]
        group, grouped = record.get("group", ""), "group" in record
        if pid not in people:
            raise CuhsError(
                f"{where}: no identity {record['pid']} in data.sources, whose identities look like "
                f"{min(people, default='nothing')}; {remedy(record['pid'], people)}"
            )
        if side not in SIDES:
            raise CuhsError(f"{where}: split {side!r} is not one of {', '.join(SIDES)}")
        if grouped and (group == "all" or not re.fullmatch(r"[A-Za-z0-9_-]+", group)):
            raise CuhsError(f"{where}: {group!r} is no name for a group; use letters, digits, - and _, but not all")
        if listed.sides.setdefault(pid, side) != side:
            raise CuhsError(f"{where}: identity {pid} is in train and in test; keep one of them")
        if (pid, group) in seen:
            raise CuhsError(f"{where}: identity {pid} is listed in row {seen[pid, group]} already; keep one of them")
        seen[pid, group] = row
        if grouped:
            listed.groups[pid] = tuple(sorted({*listed.groups.get(pid, ()), group}))
    return listed
