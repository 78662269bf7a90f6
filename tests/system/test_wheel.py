"""The library as somebody installs it who wants no pipeline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.project import ROOT, inherited

pytestmark = [pytest.mark.system, pytest.mark.long]

UV = Path(sys.executable).with_name("uv")
# Threads that wait for cores that other work has would take many times as long.
ENVIRONMENT = inherited() | {"OMP_NUM_THREADS": "1"}
PIPELINE = ("ray", "dvc", "mlflow", "boto3", "hydra", "optuna", "yaml")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an empty environment into which the wheel was installed, without extras."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        UV,
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        folder,
        ROOT,
        cwd=folder,
    )
    (wheel,) = folder.glob("cuhs-*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    bin_folder = folder / "venv/bin"
    run(
        *(UV, "pip", "install", "--quiet", "--python", bin_folder / "python"),
        *("--constraint", ROOT / "requirements.lock", wheel),
        cwd=folder,
    )
    return bin_folder


def test_the_library_alone_brings_no_pipeline_and_trains_and_evaluates(installed: Path, tmp_path: Path) -> None:
    found = (
        f"import importlib.util, json; print(json.dumps([n for n in {PIPELINE!r} if importlib.util.find_spec(n)]))"
    )
    assert json.loads(run(installed / "python", "-c", found, cwd=tmp_path)) == []
    example = ROOT / "examples/train_without_pipeline.py"
    printed = run(
        *(installed / "python", example, "--out", tmp_path / "model", "--identities", "24", "--epochs", "1"),
        cwd=tmp_path,
    )
    assert "network epoch 1/1" in printed and "all    mAP" in printed
    code = f"""
import sys, torch, cuhs
assert {str(ROOT)!r} not in cuhs.__file__
model, card = cuhs.load(__import__('pathlib').Path({str(tmp_path / "model")!r}))
features = model.embed(torch.rand(2, 3, card.height, card.width))
assert features.shape[0] == 2 and torch.isfinite(features).all()
print(cuhs.__version__)
"""
    version = run(installed / "python", "-c", code, cwd=tmp_path).strip()
    assert run(installed / "cuhs", "--version", cwd=tmp_path).strip() == version


def test_a_command_of_the_pipeline_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    assert "leaderboard" in run(installed / "cuhs", "--help", cwd=tmp_path)
    done = subprocess.run(
        [installed / "cuhs", "train"], cwd=tmp_path, env=inherited(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert (
        done.stderr == "error: yaml is not installed; commands need the extra `pipeline`: pip install '.[pipeline]'\n"
    )


def test_packages_carry_their_types_and_the_files_that_they_read(installed: Path, tmp_path: Path) -> None:
    (wheel,) = installed.parents[1].glob("cuhs-*.whl")
    names = set(run(sys.executable, "-m", "zipfile", "-l", wheel, cwd=tmp_path).split())
    assert {
        *("cuhs/py.typed", "pipelines/py.typed", "cuhs/build/report/page.html.j2", "cuhs/evaluation/report.html.j2"),
        *("cuhs/build/colours/linear_model.json", "cuhs/build/colours/network.safetensors"),
    } <= names
