"""MATLAB files up to version 7, a form in which splits and labels are published."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from cuhs.errors import CuhsError

# The published files have a few megabytes.
LARGEST = 64 * 2**20


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read the variables of a MATLAB file by name, with :mod:`.matlab_process`.

    Args:
        path: the file.
        kind: what the file is, for errors, such as "split file".

    Raises:
        CuhsError: the file is missing, a web page or larger than :data:`LARGEST` bytes, or cannot be read within the
            limits of memory and time.
    """
    if not path.is_file():
        raise CuhsError(f"{path}: no such {kind}")
    if (size := path.stat().st_size) > LARGEST:
        raise CuhsError(f"{path}: {size:,} bytes are too many for a {kind}; copy the published file again")
    with path.open("rb") as file:
        start = file.read(512).lower()
    if b"<html" in start or b"<!doctype" in start:
        raise CuhsError(f"{path}: a web page in place of a {kind}; download the file itself")
    program = Path(__file__).with_name("matlab_process.py")
    # -P: the folder of the program holds modules that are no one's but ours. One thread: each reserves memory.
    done = subprocess.run(
        [sys.executable, "-P", str(program), str(path)],
        capture_output=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode == 0:
        return pickle.loads(done.stdout)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    reason = said[-1] if said and done.returncode == 1 else "reading it needs too much memory or time"
    raise CuhsError(f"{path}: not a readable MATLAB file ({reason[:300]}); copy it again")
