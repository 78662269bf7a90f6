"""What holds the code together: parameters and their groups, the lock, dvc.yaml, the Makefile."""

import itertools
import os
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.utils.hydra import compose_and_dump
from packaging.requirements import Requirement
from packaging.version import Version

from pipelines.base.params import Params, parse
from pipelines.base.paths import FG_SYNTH

ROOT = Path(__file__).parents[1]
CONF = ROOT / "pipelines/conf"
REAL_DATA = {"cuhk03", "fg_reid", "market1501"}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compose as ``dvc exp run -S …`` does; gives what it writes to params.yaml."""
    monkeypatch.delenv("CUHS_REAL_DATA", raising=False)

    def composed(*overrides: str) -> str:
        file = tmp_path / "params.yaml"
        compose_and_dump(file, str(CONF), None, "config", str(ROOT), list(overrides))
        return file.read_text()

    return composed


# Parameters


def test_params_yaml_is_what_the_defaults_compose_to(compose: Any) -> None:
    assert (ROOT / "params.yaml").read_text() == compose(), "compose params.yaml anew: make params"


def test_every_choice_of_data_and_variant_composes_to_valid_parameters(compose: Any) -> None:
    profiles, datasets, variants = choices("profile"), choices("data"), choices("variant")
    assert {"paper", "quickstart"} <= set(profiles)
    assert {"fg_synth", "fg_reid", "cuhk03", "market1501"} <= set(datasets)
    assert {"cuhs", "baseline", "bn"} <= set(variants)
    # Every pair of data and variant, and every profile with each of both.
    assert len(profiles) <= min(len(datasets), len(variants))
    for (i, data), (j, variant) in itertools.product(enumerate(datasets), enumerate(variants)):
        profile = profiles[(i + j) % len(profiles)]
        overrides = (f"profile={profile}", f"data={data}", f"variant={variant}")
        p = parse(yaml.safe_load(compose(*overrides)), " ".join(overrides))
        # Each group names itself, for titles and tags.
        assert (p.profile, p.data.name, p.variant) == (profile, data, variant)


@pytest.mark.parametrize("profile", ["quickstart", "paper"])
@pytest.mark.parametrize("peer", choices("variant/peer"))
def test_every_peer_composes_to_valid_parameters(compose: Any, peer: str, profile: str) -> None:
    p = parse(yaml.safe_load(compose(f"profile={profile}", f"variant=peer/{peer}")), peer)
    assert p.variant == peer


def test_variants_differ_in_nothing_but_their_streams(compose: Any) -> None:
    same_streams: dict[str, list[str]] = {}
    rests = []
    for variant in choices("variant"):
        tree = yaml.safe_load(compose(f"variant={variant}"))
        del tree["variant"]
        same_streams.setdefault(repr(tree["network"].pop("streams")), []).append(variant)
        rests.append(tree)
    assert [names for names in same_streams.values() if len(names) > 1] == []
    assert all(rest == rests[0] for rest in rests)


def test_the_paper_profile_is_section_5_1(compose: Any) -> None:
    p: Params = parse(yaml.safe_load(compose("profile=paper")))
    assert (p.image.height, p.image.width) == (384, 128)
    assert (p.network.backbone, p.network.weights, p.network.channels) == ("resnet50", "imagenet", 1536)
    assert p.train.identities * p.train.images_per_identity == p.pretrain_hsl.batch == 64
    assert (p.pretrain_hsl.epochs, p.train.epochs) == (50, 90)
    for schedule in (p.pretrain_hsl, p.train):
        assert (schedule.lr, schedule.weight_decay) == (3e-4, 5e-4)
        assert (schedule.decay, schedule.warmup_epochs) == ("steps", 0)
    # The localiser's 50 epochs end before the second step.
    assert p.pretrain_hsl.milestones == (40,)
    assert p.train.milestones == (40, 70)
    assert (p.train.eta_1, p.train.eta_2, p.train.margin) == (1.0, 1.0, 0.3)
    assert p.train.metric_loss == "triplet"
    # Random erasing and flipping are the only augmentation that the paper has; flipping is no parameter.
    assert p.train.erasing > 0
    assert (p.train.pad, p.train.jitter, p.train.label_smoothing) == (0, 0.0, 0.0)
    assert p.network.neck == "none"


@pytest.mark.parametrize(("data", "hidden"), [("fg_reid", 5), ("market1501", 45), ("dukemtmc", 20)])
def test_the_paper_s_network_hides_as_many_peaks_as_is_best_on_each_dataset(
    compose: Any, data: str, hidden: int
) -> None:
    p: Params = parse(yaml.safe_load(compose("profile=paper", f"data={data}")))
    assert p.network.streams["in"].peaks(24 * 8) == hidden


def test_the_paper_s_network_learns_its_region(compose: Any) -> None:
    streams = yaml.safe_load(compose("profile=paper"))["network"]["streams"]
    assert streams["head_shoulder"]["region"] == "learned"
    assert streams["head_shoulder"]["pooling"] == "gem"


@pytest.mark.parametrize("data", sorted(REAL_DATA))
def test_real_datasets_are_taken_from_the_environment(
    compose: Any, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yaml.safe_load(compose(f"data={data}"))["data"]["raw"] == "data/raw"
    monkeypatch.setenv("CUHS_REAL_DATA", "/photographs/of people")
    assert yaml.safe_load(compose(f"data={data}"))["data"]["raw"] == "/photographs/of people"


def test_the_embedded_dataset_is_read_from_where_it_is_written(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUHS_REAL_DATA", "/photographs")
    assert parse(yaml.safe_load(compose())).data.raw == FG_SYNTH


# Stages


@pytest.fixture(scope="module")
def stages() -> list[Any]:
    with Repo(str(ROOT)) as repo:
        return list(repo.index.stages)


def test_what_stages_depend_on_is_in_the_tree_or_made_by_a_stage(stages: list[Any]) -> None:
    assert len(stages) >= 5
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    made = {out.def_path for stage in stages for out in stage.outs}
    for stage in stages:
        for dep in stage.deps:
            if isinstance(dep, ParamsDependency):
                for key in dep.params:
                    node = params
                    for name in key.split("."):
                        assert name in node, f"{stage.name}: params.yaml has no {key}"
                        node = node[name]
            else:
                assert dep.def_path in made or (ROOT / dep.def_path).exists(), f"{stage.name}: {dep.def_path}"


def test_every_stage_runs_a_module_of_the_pipelines_and_depends_on_it(stages: list[Any]) -> None:
    for stage in stages:
        match = re.fullmatch(r"python -m pipelines\.stages\.(\w+)( .*)?", stage.cmd)
        assert match, f"{stage.name}: {stage.cmd}"
        module = f"pipelines/stages/{match[1]}.py"
        assert (ROOT / module).is_file()
        assert module in {dep.def_path for dep in stage.deps}, f"{stage.name} does not depend on {module}"


def test_outputs_are_neither_in_git_nor_hidden_from_dvc(stages: list[Any]) -> None:
    outs = [out.def_path for stage in stages for out in stage.outs]
    listed = subprocess.run(["git", "ls-files", *outs], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == ""
    with Repo(str(ROOT)) as repo:
        assert [out for out in outs if repo.dvcignore.is_ignored_file(str(ROOT / out))] == []


def test_a_clone_has_the_same_bytes_where_git_turns_line_ends_into_those_of_windows(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    for name in (".gitattributes", "dvc.yaml", "Makefile"):
        (origin / name).write_bytes((ROOT / name).read_bytes())
    (origin / "image.bin").write_bytes(b"\0\n\r\n")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "core.autocrlf=true"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "files"], ["clone", "-q", ".", str(clone)]):
        subprocess.run([*git, *command], cwd=origin, check=True, capture_output=True)
    for path in origin.iterdir():
        assert path.name == ".git" or (clone / path.name).read_bytes() == path.read_bytes()


# Dependencies


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, list[str]]]:
    """Name to version and hashes, one entry a package (the first where markers give it several)."""
    entries = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip()):
        match = re.match(r"([a-z0-9-]+)==(\S+)", entry)
        assert match, f"not a pinned package: {entry[:80]}"
        entries.setdefault(match[1], (match[2], re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
    return entries


def test_every_locked_package_has_hashes(locked: dict[str, tuple[str, list[str]]]) -> None:
    assert len(locked) > 100
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []


def test_the_lock_holds_no_addresses() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(?!hash=)\S+)", text, re.MULTILINE)


def test_every_dependency_is_locked_in_its_range(locked: dict[str, tuple[str, list[str]]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    for requirement in map(Requirement, wanted):
        version, _ = locked[requirement.name.lower().replace("_", "-").replace(".", "-")]
        assert requirement.specifier.contains(Version(version)), f"{requirement} is locked as {version}"


# Makefile


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does, not as a child of ``make test``."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS")) and key != "PYTHON"
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the frame with a uv that only notes how it was called."""
    folder = tmp_path / "a project"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    uv = folder / ".venv/bin/uv"
    uv.write_text('#!/bin/sh\necho "$@" >> calls.txt\n')
    uv.chmod(0o755)
    return folder


def test_make_alone_lists_the_targets() -> None:
    done = make(ROOT)
    assert done.returncode == 0
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert sorted(listed) == sorted(phony[1].split())


def commit(folder: Path) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "downloaded"]):
        subprocess.run([*git, *command], cwd=folder, check=True)


def test_make_repro_brings_the_environment_then_runs_the_pipeline_then_shows_the_summary(project: Path) -> None:
    (project / ".venv/bin/uv").unlink()
    commit(project)
    done = make(project, "-n", "repro")
    assert done.returncode == 0, done.stderr
    steps = ["-m venv", "pip install", "uv pip sync", "uv pip install", "python -m dvc repro", "cuhs summary"]
    places = [done.stdout.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize("target", ["repro", "tune", "ablations", "cluster-demo", "checkout"])
def test_a_downloaded_copy_is_told_to_become_a_repository_before_anything_is_installed(
    project: Path, target: str
) -> None:
    for began in (False, True):  # without .git, and without a commit
        if began:
            subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        done = make(project, target)
        assert done.returncode != 0
        assert done.stderr.splitlines()[0] == (
            "error: DVC needs git, and a commit; in a downloaded copy: git init && git add -A && "
            "git commit -m downloaded"
        )
        assert not (project / "calls.txt").exists()
    commit(project)
    assert make(project, "repository").returncode == 0


def test_the_environment_is_installed_once_and_again_when_the_lock_changes(project: Path) -> None:
    calls = project / "calls.txt"
    assert make(project, "env").returncode == 0
    assert calls.read_text().splitlines() == [
        "pip sync --compile-bytecode --python .venv/bin/python requirements.lock",
        "pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .",
    ]
    again = make(project, "env")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(calls.read_text().splitlines()) == 2
    later = time.time() + 10
    os.utime(project / "requirements.lock", (later, later))
    assert make(project, "env").returncode == 0
    assert len(calls.read_text().splitlines()) == 4


def test_an_install_that_fails_is_tried_again(project: Path) -> None:
    uv = project / ".venv/bin/uv"
    works = uv.read_text()
    uv.write_text("#!/bin/sh\nexit 1\n")
    assert make(project, "env").returncode != 0
    uv.write_text(works)
    assert make(project, "env").returncode == 0
    assert (project / "calls.txt").is_file()


def test_without_a_suitable_python_one_line_says_what_is_needed(project: Path) -> None:
    (project / ".venv/bin/uv").unlink()
    old = project.parent / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(project, "env", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no Python 3.11 to 3.13" in done.stderr
    assert str(old) in done.stderr


def test_the_first_suitable_python_makes_the_environment(project: Path) -> None:
    (project / ".venv/bin/uv").unlink()
    for name, code in (("old", 1), ("new", 0), ("newer", 0)):
        (project.parent / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (project.parent / name).chmod(0o755)
    done = make(project, "-n", "env", "PYTHON=" + " ".join(str(project.parent / n) for n in ("old", "new", "newer")))
    assert done.stdout.splitlines()[0] == f"{project.parent / 'new'} -m venv --clear .venv"
