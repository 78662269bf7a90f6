"""DVC deletes outputs before a stage runs; here with DVC itself, which shall not get that far."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHECK = "data/.checked"
MAKE = "python -c \"import pathlib; p = pathlib.Path('{0}'); p.mkdir(parents=True); (p / 'made').write_text('{0}')\""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    python = Path(sys.executable).parent
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def repro(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "dvc", "repro", *arguments)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the project's own check, before two stages that are soon over."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    (folder / "pipelines/stages").mkdir(parents=True)
    stages = {"check_outputs": yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["check_outputs"]}
    stages["synthesize"] = {"cmd": MAKE.format("data/fg_synth"), "deps": [CHECK, "seed"], "outs": ["data/fg_synth"]}
    stages["train"] = {"cmd": MAKE.format("models/cuhs"), "deps": ["data/fg_synth"], "outs": ["models/cuhs"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / "seed").write_text("1")
    for name in ("params.yaml", ".gitignore", "pipelines/stages/check_outputs.py"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "pipelines/conf", folder / "pipelines/conf")
    for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q")):
        assert run(folder, *command).returncode == 0
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    me = ("-c", "user.email=test@example.invalid", "-c", "user.name=test")
    for command in (("git", "add", "-A"), ("git", *me, "commit", "-qm", "project")):
        assert run(folder, *command).returncode == 0
    return folder


@pytest.fixture
def project(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "project"))


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("place", ["data/fg_synth", "models/cuhs"])
def test_files_of_one_s_own_where_an_output_will_lie_are_still_there(place: str, project: Path) -> None:
    mine = put(project / place / "thesis.txt", "years of work")
    done = repro(project)
    assert done.returncode and mine.read_text() == "years of work"
    assert f"error: {place}: DVC would delete it and did not make it; move it elsewhere, or delete it" in done.stderr
    shutil.rmtree(project / place)
    assert repro(project).returncode == 0 and (project / "models/cuhs/made").is_file()


def test_an_experiment_whose_outputs_are_checked_out_by_force_deletes_nothing_either(project: Path) -> None:
    mine = put(project / "models/cuhs/thesis.txt", "years of work")
    put(project / "seed", "edited")
    done = run(project, sys.executable, "-m", "dvc", "exp", "run", "-S", "train.epochs=2")
    assert done.returncode and mine.read_text() == "years of work"
    assert "error: models/cuhs: DVC would delete it" in done.stderr
    # And what DVC had put aside is back.
    assert (project / "seed").read_text() == "edited" and not run(project, "git", "stash", "list").stdout


def test_files_in_git_are_still_there(project: Path) -> None:
    mine = put(project / "models/cuhs/mine", "mine")
    run(project, "git", "add", "-f", str(mine))
    done = repro(project, "train")
    assert done.returncode and mine.read_text() == "mine"
    assert "error: models/cuhs: DVC would delete it, and git has files there" in done.stderr


def test_an_impossible_parameter_is_told_before_anything_is_deleted(project: Path) -> None:
    put(project / "notes/mine", "mine")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("synthesize:\n", "synthesize:\n  folder: notes\n"))
    done = repro(project)
    assert done.returncode and "synthesize.folder: unknown key" in done.stderr
    assert (project / "notes/mine").read_text() == "mine"


def test_what_dvc_made_itself_is_no_hindrance_and_the_check_is_skipped_then(project: Path) -> None:
    assert repro(project).returncode == 0
    (project / CHECK).unlink()
    done = repro(project)
    assert done.returncode == 0 and "Running stage 'check_outputs'" in done.stdout
    put(project / "seed", "2")
    done = repro(project)
    assert done.returncode == 0 and "Running stage" in done.stdout and "'check_outputs':" not in done.stdout
    assert "Running stage" not in repro(project).stdout


def test_no_parameter_says_what_is_deleted_and_all_stages_come_after_the_check() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    checked = {"check_outputs"}
    made = {CHECK}
    while True:
        paths = {
            name: [
                next(iter(out)) if isinstance(out, dict) else out
                for kind in ("outs", "metrics", "plots")
                for out in stage.get(kind, [])
            ]
            for name, stage in stages.items()
        }
        new = {name for name, stage in stages.items() if made & set(stage["deps"])} - checked
        if not new:
            break
        checked |= new
        made |= {path for name in new for path in paths[name]}
    assert checked == set(stages)
    outs = [path for listed in paths.values() for path in listed]
    assert all(path.split("/")[0] in {"data", "models", "reports"} and "$" not in path for path in outs)


def test_a_raw_folder_that_is_missing_is_told_before_anything_is_drawn(project: Path) -> None:
    assert repro(project).returncode == 0
    shutil.rmtree(project / "data/fg_synth")
    text = (project / "params.yaml").read_text()
    assert "raw: data/fg_synth" in text
    for raw in ("/nowhere", "'~/Jos\u00e9'"):
        (project / "params.yaml").write_text(text.replace("raw: data/fg_synth", f"raw: {raw}"))
        (project / "seed").write_text("2")
        done = repro(project)
        assert done.returncode and not (project / "data/fg_synth").exists()
        assert (
            f"error: data.raw: {raw.strip(chr(39))}: no such folder; give the whole path of the folder" in done.stderr
        )
    (project / "params.yaml").write_text(text.replace("raw: data/fg_synth", "raw: models"))
    assert repro(project).returncode == 0 and (project / "data/fg_synth/made").is_file()
