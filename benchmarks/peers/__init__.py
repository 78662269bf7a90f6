"""The toolboxes to compare with: their real packages, in their own environment.

The environment uses the project's torch and numpy, so that times do not differ by the matrix library.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / "build/peers"
RUNNER = HERE / "runner.py"


def environment() -> Path:
    """The environment's Python; the first call installs it."""
    python = ENVIRONMENT / "bin/python"
    wanted = (HERE / "requirements.txt").read_text() + sys.version
    done = ENVIRONMENT / "done.txt"
    if done.is_file() and done.read_text() == wanted:
        return python
    uv = [sys.executable, "-m", "uv"]
    _run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT))
    _packages(python).joinpath("project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # Their requirements are too old to install; the measured functions need only torch and numpy.
    install = [*uv, "pip", "install", "--quiet", "--python", str(python), "--no-deps"]
    requirements = (HERE / "requirements.txt").read_text().splitlines()
    _run(*install, *(line for line in requirements if line.startswith(("cython", "setuptools"))))
    _run(*install, "--no-build-isolation", "-r", str(HERE / "requirements.txt"))
    cython = _packages(python) / "fastreid/evaluation/rank_cylib"
    _run(str(python), "setup.py", "--quiet", "build_ext", "--inplace", cwd=cython)
    done.write_text(wanted)
    return python


def run(peer: str, folder: Path, threads: int) -> dict[str, float]:
    """Run a function of ``runner.py`` on the arrays in a folder; returns its figures, such as ``seconds``."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    out = _run(str(environment()), str(RUNNER), peer, str(folder), env=variables)
    return json.loads(out.splitlines()[-1])


def _packages(python: Path) -> Path:
    return Path(_run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout
