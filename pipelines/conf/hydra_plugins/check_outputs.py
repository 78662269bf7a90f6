"""Before ``dvc exp run`` composes ``params.yaml``: the stage ``check_outputs``, where it has not run yet.

DVC checks out all outputs by force before an experiment's first stage, so a stage comes too late. Hydra's plugins,
which it looks for here (``.dvc/config``), are imported before that. The project itself need not be importable then.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

if not (ROOT / "data/.checked").exists():
    done = subprocess.run([sys.executable, "-m", "pipelines.stages.check_outputs"], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)
