import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from cuhs.errors import CuhsError
from pipelines.base import versions
from pipelines.base.versions import Commit


def test_a_run_name_changes_with_any_input_and_with_nothing_else() -> None:
    name = versions.run_name("train", data="a", train={"lr": 0.1, "epochs": 3})
    assert name == versions.run_name("train", train={"epochs": 3, "lr": 0.1}, data="a")
    assert name.startswith("train-")
    others = [
        versions.run_name("train", data="b", train={"lr": 0.1, "epochs": 3}),
        versions.run_name("train", data="a", train={"lr": 0.1, "epochs": 4}),
        versions.run_name("hsl", data="a", train={"lr": 0.1, "epochs": 3}),
    ]
    assert len({name, *others}) == 4


def summary(version: str) -> str:
    """What a build writes into ``dataset.json``, as far as others read it."""
    return json.dumps({"version": version, "name": "n", "protocol": "p", "groups": {}})


def test_the_data_version_is_the_built_datasets(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(summary("abc"))
    assert versions.data_version(tmp_path) == "abc"
    with pytest.raises(CuhsError, match="build the dataset first"):
        versions.data_version(tmp_path / "absent")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two stages and some code."""
    monkeypatch.chdir(tmp_path)
    for name in ("lib/model.py", "lib/weights.json", "lib/__pycache__/model.pyc", "page.py", "train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    stages = {
        "train": {"deps": ["data/dataset", "lib", "train.py"], "outs": ["models/cuhs"]},
        "report": {"deps": ["${data.raw}", "page.py"], "outs": ["reports"]},
    }
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "pipelines/dvc.yaml").write_text("stages: {}")
    return tmp_path


@pytest.mark.parametrize("changed", ["lib/model.py", "lib/weights.json", "train.py"])
def test_the_code_version_changes_with_every_file_that_the_stage_depends_on(project: Path, changed: str) -> None:
    before = versions.code_version("train")
    (project / changed).write_text("another")
    assert versions.code_version("train") != before
    (project / changed).write_text(changed)
    assert versions.code_version("train") == before


def test_the_code_version_changes_with_a_new_a_lost_and_a_renamed_file(project: Path) -> None:
    found = {versions.code_version("train")}
    (project / "lib/new.py").write_text("")
    found.add(versions.code_version("train"))
    (project / "lib/new.py").rename(project / "lib/newer.py")
    found.add(versions.code_version("train"))
    (project / "lib/model.py").unlink()
    found.add(versions.code_version("train"))
    assert len(found) == 4


@pytest.mark.parametrize("changed", ["page.py", "lib/__pycache__/model.pyc", "notes.txt"])
def test_other_code_orphans_no_interrupted_training(project: Path, changed: str) -> None:
    before = versions.code_version("train")
    (project / changed).write_text("another")
    assert versions.code_version("train") == before


def test_the_code_versions_of_the_project_s_own_trainings_differ_and_a_commit_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    assert len({versions.code_version(stage) for stage in ("pretrain_hsl", "train", "tune")}) == 3
    commit = versions.git_commit()
    assert len(commit.id) == 40 or commit.unknown


def test_the_datasets_digest_is_dvcs_where_that_is_of_this_build(tmp_path: Path) -> None:
    root = tmp_path / "data" / "dataset"
    root.mkdir(parents=True)
    (root / "dataset.json").write_text(summary("own"))
    (root / "a.parquet").write_bytes(b"12345")
    lock = tmp_path / "dvc.lock"
    size = sum(path.stat().st_size for path in root.iterdir())

    def locked(**changes: object) -> str:
        out = {"path": root.as_posix(), "md5": "0" * 32 + ".dir", "nfiles": 2, "size": size} | changes
        lock.write_text(yaml.safe_dump({"stages": {"build_dataset": {"outs": [out]}}}))
        return versions.data_digest(root, lock)

    assert versions.data_digest(root, lock) == "own"
    assert locked() == "0" * 32 + ".dir"
    assert locked(size=size + 1) == "own"
    assert locked(nfiles=3) == "own"
    assert locked(path="data/other") == "own"
    # Of another build than the lock's: MLflow takes no digest of more than 36 characters.
    (root / "dataset.json").write_text(summary("f" * 64))
    assert locked(size=0) == "f" * 32


def test_a_job_without_a_repository_is_told_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert versions.git_commit().id == ""
    monkeypatch.setenv(versions.CODE, json.dumps(asdict(Commit("a" * 40, True))))
    assert versions.git_commit() == Commit("a" * 40, True)


def test_what_git_does_not_tell_is_unknown_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(versions.CODE, raising=False)
    found = versions.git_commit()
    assert (found.id, found.dirty) == ("", None) and "not a git repository" in found.unknown
    assert str(found).startswith("unknown (not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.git_commit() == Commit("", None, "git is not installed")


def test_a_repository_of_another_owner_is_unknown_and_not_clean(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    # What git itself does in its tests to make every owner another one.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = versions.git_commit()
    assert (found.id, found.dirty) == ("", None) and "dubious ownership" in found.unknown


def test_a_changed_file_is_a_local_change_and_dvc_s_own_files_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(versions.CODE, raising=False)
    for name in ("code.py", "params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("1")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "code"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "params.yaml").write_text("2")
    assert versions.git_commit().dirty is False
    (tmp_path / "code.py").write_text("2")
    assert versions.git_commit().dirty is True
    assert str(versions.git_commit()).endswith(" with local changes")


@pytest.mark.parametrize("told", ["{", "[]", '{"id": "a"}', '{"id": "a", "dirty": 7}'])
def test_a_damaged_commit_is_one_line(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUHS_CODE", told)
    with pytest.raises(CuhsError, match=r"^CUHS_CODE: not a commit \(.*; unset CUHS_CODE"):
        versions.git_commit()
