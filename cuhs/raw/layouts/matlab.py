"""MATLAB files up to version 7, a form in which splits and labels are published."""

from pathlib import Path
from typing import Any

import scipy.io

from cuhs.errors import CuhsError


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read the variables of a MATLAB file by name.

    Args:
        path: the file.
        kind: what the file is, for errors, such as "split file".

    Raises:
        CuhsError: the file is missing or cannot be read.
    """
    if not path.is_file():
        raise CuhsError(f"{path}: no such {kind}")
    try:
        return scipy.io.loadmat(path, appendmat=False)
    except Exception as error:  # scipy's readers raise exceptions of any type on broken files
        reason = " ".join(str(error).split())
        raise CuhsError(f"{path}: not a readable MATLAB file ({reason}); copy it again") from error
