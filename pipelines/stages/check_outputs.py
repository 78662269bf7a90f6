"""Stage ``check_outputs``: stops DVC before it deletes files of yours that are in an output's place.

DVC deletes a stage's outputs before it starts the stage, whoever made them. So all other stages depend on this one.
It runs in a new working copy, where its own output does not exist yet, and again for another raw folder: that it is
missing is to be known before anything is drawn.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cuhs.errors import CuhsError
from pipelines.base import cli, params
from pipelines.base.paths import CHECKED, FG_SYNTH

if TYPE_CHECKING:
    from dvc.output import Output

TEXT = "DVC deletes and rewrites what dvc.yaml names below data, models and reports. Keep nothing else there.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    cli.parse_nothing("python -m pipelines.stages.check_outputs", __doc__, argv)
    return cli.run(run)


def run() -> None:
    """Refuse if DVC would delete something that it cannot restore; otherwise write ``data/.checked``.

    Raises:
        CuhsError: a parameter is impossible, the raw folder is missing, an output's place holds something else, or
            git tracks files there.
    """
    _check_raw(params.load().data.raw)
    if CHECKED.exists():
        return
    # Not at the top: it takes a second to import.
    from dvc.repo import Repo

    with Repo() as repo:
        for out in (out for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml" for out in stage.outs):
            _check(out)
    CHECKED.parent.mkdir(parents=True, exist_ok=True)
    CHECKED.write_text(TEXT)


def _check_raw(raw: Path) -> None:
    # FG-Synth is drawn later, and `dvc pull` brings what a .dvc file names.
    if raw != FG_SYNTH and not raw.is_dir() and not raw.with_name(f"{raw.name}.dvc").is_file():
        raise CuhsError(f"data.raw: {raw}: no such folder; give the whole path of the folder with the raw datasets")


def _check(out: "Output") -> None:
    if out.def_path == CHECKED.as_posix() or not out.exists or out.is_empty:
        return
    listed = subprocess.run(["git", "ls-files", "--", out.def_path], capture_output=True, text=True, check=False)
    if listed.stdout:
        raise CuhsError(f"{out.def_path}: DVC would delete it, and git has files there; git mv them elsewhere")
    found = out.get_hash()
    # What dvc.lock names was made by DVC; what the cache holds can be restored.
    if found != out.hash_info and not out.cache.exists(found.value):
        raise CuhsError(f"{out.def_path}: DVC would delete it and did not make it; move it elsewhere, or delete it")


if __name__ == "__main__":
    sys.exit(main())
