"""Stages depend on all the code that their results depend on."""

from pathlib import Path

import pytest
import yaml

from pipelines.base import stages
from tests.imports import ROOT, closure

# Code that no result depends on, and why. Its own imports are not followed.
LEFT_OUT = {
    "cuhs/__init__.py": "names what is public",
    "cuhs/errors.py": "the base of messages",
    "cuhs/config.py": "the base of configuration objects; DVC compares their values",
    "cuhs/machine.py": "counts cores",
    "cuhs/files.py": "the same bytes, or an error",
    "cuhs/documents.py": "the same values, or an error",
    "cuhs/alone.py": "who may work in a folder",
    "pipelines/__init__.py": "how patient MLflow's client is",
    "pipelines/base": "parameters, whose values DVC compares itself; paths, messages and exit codes",
    "pipelines/cluster": "where work runs, which changes no result",
    "pipelines/storage": "where files lie, which changes no result",
    "pipelines/tracking": "what MLflow is told",
    **{
        f"{package}/__init__.py": "a docstring"
        for package in (
            "cuhs/build",
            "cuhs/data",
            "cuhs/raw",
            "pipelines/evaluation",
            "pipelines/stages",
            "pipelines/training",
        )
    },
}
NAMES = sorted(
    name
    for file in ("dvc.yaml", "pipelines/dvc.yaml")
    for name in yaml.safe_load((ROOT / file).read_text())["stages"]
)


def left_out() -> frozenset[Path]:
    files = set()
    for name in LEFT_OUT:
        path = ROOT / name
        files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return frozenset(files)


def below(file: Path, folder: Path) -> bool:
    return file == folder or folder in file.parents


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_stage_is_one_of_its_dependencies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = [ROOT / path for path in stages.read(name).code]
    files = closure(f"pipelines.stages.{name}", left_out()) - left_out()
    assert ROOT / f"pipelines/stages/{name}.py" in files
    missing = {file for file in files if not any(below(file, path) for path in code)}
    assert sorted(str(file.relative_to(ROOT)) for file in missing) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_stage_depends_on_code_that_it_does_not_use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # What is allowed to be left out may be named all the same.
    files = closure(f"pipelines.stages.{name}")
    # MLflow runs this file where it serves the model; nothing imports it.
    if name == "register":
        files |= closure("pipelines.tracking.served_model")
    for path in stages.read(name).code:
        assert any(below(file, ROOT / path) for file in files), f"{name} does not use {path}"


def test_stages_name_a_handful_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert {name: len(code) for name in NAMES if len(code := stages.read(name).code) > 12} == {}


def test_what_is_left_out_is_there() -> None:
    assert [name for name in LEFT_OUT if not (ROOT / name).exists()] == []


def test_a_missing_dependency_would_be_found() -> None:
    # The search ranks what it trained: before its dependencies were computed, it missed these.
    files = {path.relative_to(ROOT).as_posix() for path in closure("pipelines.stages.tune", left_out())}
    assert {"pipelines/evaluation/extraction.py", "cuhs/retrieval.py", "cuhs/data/shards.py"} <= files


def test_the_lock_is_of_a_run_of_today_s_stages() -> None:
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    stages_here = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name: stage["cmd"] for name, stage in locked.items()} == {
        name: stage["cmd"] for name, stage in stages_here.items()
    }
    paths = {dep["path"] for stage in locked.values() for dep in stage["deps"]}
    code = {path for path in paths if path.split("/")[0] in ("cuhs", "pipelines")}
    assert {path for path in code if not (ROOT / path).exists()} == set()
