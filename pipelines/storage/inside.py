"""Keeps names that came from elsewhere inside one folder.

Manifests in a bucket, a job's results and artifacts of MLflow's runs all name files. Whoever can write there must not
choose where this machine writes, so every such name passes through this module.
"""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from cuhs.errors import CuhsError, quoted


def problem(name: str) -> str | None:
    """Why a relative POSIX path must not be written to; none if it may be."""
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
    """The path of a name below a folder that holds no links.

    Args:
        root: the folder; it need not exist.
        name: a relative POSIX path that came from elsewhere.

    Raises:
        CuhsError: the name is empty, absolute, or has ``..`` or ``.git`` in it.
    """
    if why := problem(name):
        raise CuhsError(f"{quoted(name)}: refused, {why}; do not trust what named it")
    return root / name


def inside(root: Path, name: str) -> Path:
    """Like :func:`below`, for a folder that may hold links.

    Raises:
        CuhsError: as for :func:`below`, or a link on the way leads outside the folder.
    """
    place = below(root, name)
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root)):
        raise CuhsError(f"{place}: refused, a link on the way leads outside {root}; remove the link")
    return place
