"""How processes are started."""

import os
import subprocess
import sys
from pathlib import Path

from tests.imports import ROOT

# The fork server listens at a socket.
TALK = """
import tempfile
from concurrent.futures import ProcessPoolExecutor
from cuhs.machine import processes

if __name__ == "__main__":
    with ProcessPoolExecutor(2, processes()) as pool:
        print(sum(pool.map(abs, [-1, -2])), tempfile.gettempdir())
"""


def test_processes_start_where_temporary_files_have_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    (tmp_path / "talk.py").write_text(TALK)
    done = subprocess.run(
        [sys.executable, "talk.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # What the user chose stays for everything else.
    assert done.stdout == f"3 {folder}\n"
    assert list(folder.iterdir()) == []
