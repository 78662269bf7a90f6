"""A table of the paper by one command: killed in the middle, run again, and found done."""

import signal
import time
from pathlib import Path

import pytest

from tests.system.project import TINY, Project, kill_tree, wait_for

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]

# Tiny, and without Ray.
OVERRIDES = [change for change in TINY if not change.startswith(("compute.", "train.epochs"))]
COMMAND = ["cuhs", "paper", "table7", "--jobs", "2", *(part for change in OVERRIDES for part in ("-S", change))]


def test_a_table_goes_on_after_a_kill_and_is_not_trained_twice(project: Project, tmp_path: Path) -> None:
    twin = project.twin(tmp_path / "twin")
    # Some seconds an epoch, so that it can be killed in one.
    command = [*COMMAND, "-S", "train.epochs=12"]
    process = twin.start(*command)

    def saved() -> list[Path]:
        return sorted(twin.folder.glob("runs/paper/*/runs/train-*/checkpoint_*/manifest.json"))

    try:
        wait_for(saved, process, seconds=300)
        process.send_signal(signal.SIGKILL)  # its workspaces go on by themselves
        process.wait()
        out = twin.run(*command)
    finally:
        kill_tree(process.pid)
    for row in ("Fixed head-shoulder region", "CUHS (learned region)"):
        assert f"{row}, seed 0: mAP " in out
        assert f"| {row} | 76.5 / 78.6 |" in out or f"| {row} | 80.1 / 82.5 |" in out
    page = (twin.folder / "reports/paper/table7.md").read_text()
    assert "has none for fg_synth" in page
    assert (twin.folder / "reports/paper/table7.html").stat().st_size > 5000
    assert "refs/exps/" in twin.run("git", "for-each-ref")

    logs = [path.read_text() for path in sorted(twin.folder.glob("runs/paper/*.log"))]
    began = time.monotonic()
    assert twin.run(*command).count("seed 0: mAP") == 2
    again = [path.read_text() for path in sorted(twin.folder.glob("runs/paper/*.log"))]
    assert time.monotonic() - began < 200
    said = "".join(after.removeprefix(before) for before, after in zip(logs, again, strict=True))
    assert "Running stage 'train'" not in said
    assert (twin.folder / "reports/paper/table7.md").read_text() == page

    (twin.folder / "cuhs/losses.py").open("a").write("# changed\n")
    refused = twin.start(*command)
    said, _ = refused.communicate(timeout=100)
    assert refused.returncode == 2
    assert "cuhs/losses.py: changed since the last commit" in said
