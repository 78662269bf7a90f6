"""Runs the stage ``check_outputs``, if it has not run yet, before ``dvc exp run`` composes ``params.yaml``.

DVC checks out all outputs by force before an experiment's first stage, so a stage would come too late. Hydra's
plugins are imported earlier, and ``.dvc/config`` names this folder as theirs. The project itself may not be
importable then, so the check runs in its own process.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

if not (ROOT / "data/.checked").exists():
    done = subprocess.run([sys.executable, "-m", "pipelines.stages.check_outputs"], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)
