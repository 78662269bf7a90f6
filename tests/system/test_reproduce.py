"""A model in another clone: its data, parameters and outputs through a DVC remote on a real S3 server."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.local.seaweed import Seaweed
from tests.system.project import Project

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def bucket(seaweed: Seaweed) -> str:
    seaweed.client().create_bucket(Bucket="reproduce")
    return "s3://reproduce/dvc"


@pytest.fixture(scope="module")
def pushed(project: Project, seaweed: Seaweed, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished main job, committed and pushed."""
    folder = tmp_path_factory.mktemp("pushed") / "project"
    shutil.copytree(project.folder, folder)
    owner = Project(folder)
    owner.env |= seaweed.environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{project.folder / 'mlflow.db'}"}
    owner.run("dvc", "remote", "add", "-d", "store", bucket)
    owner.run("git", "add", "-A")
    owner.run("git", "commit", "-qm", "results")
    owner.run("dvc", "push", "--run-cache")
    return owner


def clone(owner: Project, folder: Path) -> Project:
    subprocess.run(["git", "clone", "-q", str(owner.folder), str(folder)], check=True)
    other = Project(folder)
    other.env = dict(owner.env)
    return other


def test_another_clone_pulls_and_has_nothing_to_run(pushed: Project, tmp_path: Path) -> None:
    other = clone(pushed, tmp_path / "clone")
    other.run("dvc", "pull")
    out = other.run("dvc", "repro")
    assert "Running stage" not in out
    assert other.json("reports/metrics.json") == pushed.json("reports/metrics.json")
    assert (other.folder / "models/cuhs/model.safetensors").read_bytes() == (
        pushed.folder / "models/cuhs/model.safetensors"
    ).read_bytes()


def test_a_run_brings_back_the_parameters_and_data_that_it_had(pushed: Project, tmp_path: Path) -> None:
    run = pushed.json("models/run.json")["run_id"]
    wanted = yaml.safe_load((pushed.folder / "params.yaml").read_text())
    other = clone(pushed, tmp_path / "clone")
    changed = other.folder / "params.yaml"
    changed.write_text(changed.read_text().replace("eta_1: 1.0", "eta_1: 3.0"))
    other.run("git", "commit", "-qam", "another idea")
    out = other.run("python", "-m", "pipelines.commands.checkout", run)
    assert "go on with: dvc repro" in out and "DVC does not have" not in out, out
    assert yaml.safe_load(changed.read_text()) == wanted
    assert (other.folder / "data/dataset/dataset.json").is_file()
    other.run("dvc", "pull", "--run-cache", "--allow-missing")
    other.run("dvc", "repro", "--pull", "--allow-missing", "train")
    assert (other.folder / "models/cuhs/model.safetensors").read_bytes() == (
        pushed.folder / "models/cuhs/model.safetensors"
    ).read_bytes()


def test_the_champion_is_a_name_for_its_run(pushed: Project, tmp_path: Path) -> None:
    name = pushed.json("reports/registration.json")["model"]
    other = clone(pushed, tmp_path / "clone")
    assert "are those of models:/" in other.run(
        "python", "-m", "pipelines.commands.checkout", f"models:/{name}@champion"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("0" * 32, "MLflow has no such run or model"), ("models:/nobody@champion", "MLflow has no such run or model")],
)
def test_what_mlflow_does_not_know_is_one_line(pushed: Project, tmp_path: Path, name: str, message: str) -> None:
    other = clone(pushed, tmp_path / "clone")
    process = other.start("python", "-m", "pipelines.commands.checkout", name)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and message in out and "Traceback" not in out


def test_local_changes_are_never_overwritten(pushed: Project, tmp_path: Path) -> None:
    other = clone(pushed, tmp_path / "clone")
    (other.folder / "README.md").write_text("mine")
    process = other.start("python", "-m", "pipelines.commands.checkout", pushed.json("models/run.json")["run_id"])
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "README.md: changed and not committed" in out
    assert (other.folder / "README.md").read_text() == "mine"
