"""Where a name that came from elsewhere may lie: below one folder, and nowhere else.

Manifests in a bucket, results of a job, and files of MLflow's runs name files. Whoever can write there must not
choose where on this machine they land, so every such name passes through here.
"""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from cuhs.errors import CuhsError


def problem(name: str) -> str | None:
    """Why a relative POSIX path is none that may be written to, or none where it may."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
        return "its name has a backslash or a control character"
    if name != str(PurePosixPath(name)) or name.startswith("/") or {"..", "."} & set(name.split("/")):
        return "its path leaves its folder"
    if any(part.casefold() == ".git" for part in name.split("/")):
        return "its path is git's own"
    return None


def below(root: Path, name: str) -> Path:
    """The place of a name below a folder that holds no links.

    Args:
        root: the folder; it need not exist.
        name: relative POSIX path, as somebody else wrote it.

    Raises:
        CuhsError: the name is empty, absolute, or has ``..`` or ``.git`` in it.
    """
    if why := problem(name):
        raise CuhsError(f"{name!r}: refused, {why}; do not trust what named it")
    return root / name


def inside(root: Path, name: str) -> Path:
    """As :func:`below`, where links may lie.

    Raises:
        CuhsError: as of :func:`below`, or a link on the way leads outside.
    """
    place = below(root, name)
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root)):
        raise CuhsError(f"{place}: refused, a link on the way leads outside of {root}; remove the link")
    return place
