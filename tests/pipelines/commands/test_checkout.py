"""What a run may bring into the working copy, whoever wrote it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from cuhs.errors import CuhsError
from pipelines.commands.checkout import check_out
from pipelines.storage.dvc_files import LIMIT

STAGES = {
    "build_dataset": {"cmd": "mkdir -p data/dataset; echo 1 > data/dataset/a", "outs": ["data/dataset"]},
    "pretrain_hsl": {"cmd": "mkdir -p models/hsl; echo 2 > models/hsl/a", "outs": ["models/hsl"]},
}
HOOK = b"#!/bin/sh\ntouch pwned\n"

Logged = Callable[..., str]


def run(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def made(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits, the data of whose stages is in DVC's cache."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    dvc = (sys.executable, "-m", "dvc")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.email", "test@example.invalid")
    run(folder, "git", "config", "user.name", "test")
    run(folder, *dvc, "init", "-q")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (folder / "params.yaml").write_text("eta: 1\n")
    (folder / "Makefile").write_text("all:\n")
    (folder / ".gitignore").write_text("/data/\n/models/\n")
    run(folder, *dvc, "repro", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "first")
    (folder / "params.yaml").write_text("eta: 2\n")
    run(folder, "git", "commit", "-qam", "second")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def logged(project: Path, tmp_path: Path) -> Logged:
    """Logs a run of the first commit with these files in its folder ``reproduce``; gives its id."""
    first = run(project, "git", "rev-parse", "HEAD~1")

    def log(files: dict[str, bytes] | None = None, commit: str = first, lock: bytes | None = None) -> str:
        client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        found = client.get_experiment_by_name("exp")
        place = tmp_path.parent / "artifacts"
        experiment = found.experiment_id if found else client.create_experiment("exp", place.as_uri())
        made = client.create_run(experiment, tags={"mlflow.source.git.commit": commit}).info.run_id
        held = {"params.yaml": b"eta: 3\n", "dvc.lock": lock or (project / "dvc.lock").read_bytes()}
        for name, data in (held | (files or {})).items():
            path = tmp_path / "reproduce" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        client.log_artifacts(made, str(tmp_path / "reproduce"), "reproduce")
        return made

    return log


def locked(project: Path, **changes: object) -> bytes:
    """The lock with other values for the first output."""
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["build_dataset"]["outs"][0] |= changes
    return yaml.safe_dump(lock).encode()


def unchanged(project: Path) -> bool:
    """Whether the second commit is still there as it was, and nothing beside it."""
    return not run(project, "git", "status", "--porcelain") and (project / "params.yaml").read_text() == "eta: 2\n"


def test_a_run_brings_its_commit_parameters_and_data_and_nothing_else(
    logged: Logged, project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree("data")
    strangers = {
        "dvc.py": b"open('pwned', 'w')\n",
        "sitecustomize.py": b"open('pwned', 'w')\n",
        "Makefile": b"all:\n\ttouch pwned\n",
        "dvc.yaml": b"stages: {build_dataset: {cmd: touch pwned}}\n",
        "folder/post-checkout": HOOK,
    }
    check_out(logged(strangers))
    assert run(project, "git", "log", "-1", "--format=%s") == "first"
    assert Path("params.yaml").read_text() == "eta: 3\n" and Path("data/dataset/a").read_text() == "1\n"
    assert run(project, "git", "status", "--porcelain") == "M params.yaml"
    assert not list(tmp_path.rglob("pwned"))
    (line,) = [line for line in caplog.messages if "is ignored" in line]
    assert all(
        f"'reproduce/{name}'" in line for name in ("dvc.py", "sitecustomize.py", "Makefile", "dvc.yaml", "folder")
    )


@pytest.mark.parametrize(
    "commit", ["-f", "--orphan=x", "HEAD", "main", "0" * 39, "0" * 41, "0" * 40 + "\n", "A" * 40]
)
def test_what_is_no_commit_is_not_given_to_git(commit: str, logged: Logged, project: Path) -> None:
    with pytest.raises(CuhsError, match="which is not a commit; see who can write to MLflow"):
        check_out(logged(commit=commit))
    assert unchanged(project)


def test_a_file_that_is_too_large_or_a_folder_is_refused(logged: Logged, project: Path) -> None:
    with pytest.raises(CuhsError, match=r"reproduce/params\.yaml is refused, it is not a file of at most \d+ bytes"):
        check_out(logged({"params.yaml": b"#" * (LIMIT + 1)}))
    assert unchanged(project)


@pytest.mark.parametrize("folder", ["notes", "../notes", "/home/me", "data", "data/../notes", ".git", 3, "data/.git"])
def test_parameters_that_move_an_output_out_of_data_are_refused(
    folder: object, logged: Logged, project: Path
) -> None:
    params = yaml.safe_dump({"synthesize": {"folder": folder}}).encode()
    with pytest.raises(CuhsError, match=r"^params\.yaml: synthesize\.folder: .* is refused"):
        check_out(logged({"params.yaml": params}))
    assert unchanged(project)


@pytest.mark.parametrize(
    "change",
    [
        *({"path": path} for path in ("../x", "/etc/x", ".git/hooks", "cuhs", "data", "data/../cuhs", "Makefile", 3)),
        {"files": [{"relpath": "../../.git/hooks/post-checkout", "md5": "0" * 32}]},
        *({"md5": md5} for md5 in ("../../../x", "", None, "0" * 31, "0" * 32 + ".dir/x")),
        *({key: "x"} for key in ("hash", "cloud", "remote", "repo", "cmd")),
    ],
)
def test_a_lock_that_says_more_than_checksums_of_outputs_is_refused(
    change: dict[str, object], logged: Logged, project: Path
) -> None:
    with pytest.raises(CuhsError, match=r"^dvc\.lock: build_dataset: .*refused"):
        check_out(logged(lock=locked(project, **change)))
    assert unchanged(project)


@pytest.mark.parametrize("text", [b"[", b"[]", b"\xff", b"stages: 3", b"stages: {a: 3}", b"&a [*a, *a]"])
def test_a_damaged_lock_is_one_line(text: bytes, logged: Logged, project: Path) -> None:
    with pytest.raises(CuhsError, match=r"^dvc\.lock: ") as caught:
        check_out(logged(lock=text))
    assert unchanged(project) and "\n" not in str(caught.value)


def hostile(remote: Path, project: Path, right: bool) -> bytes:
    """A lock, and in DVC's remote the listing that it names, which writes a hook."""
    hook = hashlib.md5(HOOK).hexdigest()
    listing = json.dumps([{"md5": hook, "relpath": "../../.git/hooks/post-checkout"}, {"md5": hook, "relpath": "a"}])
    digest = hashlib.md5(listing.encode()).hexdigest() if right else "0" * 32
    for name, data in ((hook, HOOK), (f"{digest}.dir", listing.encode())):
        path = remote / "files/md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return locked(project, md5=f"{digest}.dir")


@pytest.mark.parametrize(("right", "why"), [(True, "leaves its folder"), (False, "does not match its checksum")])
def test_a_listing_in_dvc_s_remote_that_leaves_its_folder_is_not_checked_out(
    right: bool, why: str, logged: Logged, project: Path, tmp_path: Path
) -> None:
    lock = hostile(tmp_path / "remote", project, right)
    run(project, sys.executable, "-m", "dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    run(project, "git", "commit", "-qam", "third")
    shutil.rmtree("data")
    with pytest.raises(CuhsError, match=rf"^build_dataset: data/dataset: what DVC fetched is refused, .*{why}"):
        check_out(logged(lock=lock))
    assert not Path(".git/hooks/post-checkout").exists()
    # Nor by who goes on without heeding it.
    run(project, sys.executable, "-m", "dvc", "checkout")
    assert not Path(".git/hooks/post-checkout").exists()


def test_a_run_that_is_not_there_costs_no_change_of_params_yaml(project: Path) -> None:
    (project / "params.yaml").write_text("mine: 1\n")
    with pytest.raises(CuhsError, match="MLflow has no such run"):
        check_out("0" * 32)
    assert (project / "params.yaml").read_text() == "mine: 1\n"


def test_what_git_refuses_is_one_line_with_git_s_advice_or_ours(project: Path, logged: Logged) -> None:
    # Each of them was cut to git's last line, such as "Aborting".
    run(project, "git", "checkout", "-q", "HEAD~1")
    (project / "notes").mkdir()
    (project / "notes/own.txt").write_text("tracked by the run's commit")
    run(project, "git", "add", "notes")
    run(project, "git", "commit", "-qm", "notes")
    commit = run(project, "git", "rev-parse", "HEAD")
    run(project, "git", "checkout", "-q", "HEAD~1")
    (project / "notes").mkdir()
    (project / "notes/own.txt").write_text("mine")
    with pytest.raises(CuhsError, match=r"^git checkout: .* would be overwritten .* notes/own.txt .*move or remove"):
        check_out(logged(commit=commit))
    assert (project / "notes/own.txt").read_text() == "mine"
    with pytest.raises(CuhsError, match=r"^git checkout: fatal: .* \(fetch the commit: git fetch origin 0{40}\)$"):
        check_out(logged(commit="0" * 40))
