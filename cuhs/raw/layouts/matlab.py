"""MATLAB files up to version 7, in which splits and labels are published."""

from pathlib import Path
from typing import Any

import scipy.io

from cuhs.errors import CuhsError


def load(path: Path, kind: str) -> dict[str, Any]:
    """The variables of a MATLAB file by name.

    Args:
        path: the file.
        kind: what it is, for errors: "split file".

    Raises:
        CuhsError: the file is missing or cannot be read.
    """
    if not path.is_file():
        raise CuhsError(f"{path}: no such {kind}")
    try:
        return scipy.io.loadmat(path, appendmat=False)
    except Exception as error:  # scipy's readers raise whatever a broken file leads them to
        reason = " ".join(str(error).split())
        raise CuhsError(f"{path}: not a readable MATLAB file ({reason}); copy it again") from error
