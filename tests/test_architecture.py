"""The arrows between packages, and what lies at the top of the repository."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.imports import ROOT, imported, modules, package_of

# What each package may import, besides itself. A package stands below all that it imports, so there is no circle.
ARROWS: dict[str, set[str]] = {
    "cuhs.errors": set(),
    "cuhs.machine": set(),
    "cuhs.images": set(),
    "cuhs.config": set(),
    "cuhs.files": set(),
    "cuhs.documents": {"cuhs.errors", "cuhs.files"},
    "cuhs.csv_files": {"cuhs.errors"},
    "cuhs.alone": {"cuhs.errors"},
    "cuhs.raw": {"cuhs.config", "cuhs.csv_files", "cuhs.errors"},
    "cuhs.synthetic": {"cuhs.csv_files", "cuhs.errors"},
    "cuhs.data": {"cuhs.documents", "cuhs.errors", "cuhs.machine"},
    "cuhs.build": {
        "cuhs.alone",
        "cuhs.config",
        "cuhs.data",
        "cuhs.errors",
        "cuhs.images",
        "cuhs.machine",
        "cuhs.raw",
    },
    # Knows features and labels, never the network.
    "cuhs.evaluation": {"cuhs.errors"},
    "cuhs.network": {"cuhs.config", "cuhs.errors"},
    "cuhs.losses": {"cuhs.network"},
    "cuhs.export": {"cuhs.config", "cuhs.documents", "cuhs.errors", "cuhs.files", "cuhs.network"},
    "cuhs.explain": {"cuhs.network"},
    "cuhs.retrieval": {"cuhs.data", "cuhs.network"},
    "cuhs.training": {
        *("cuhs.config", "cuhs.data", "cuhs.documents", "cuhs.errors", "cuhs.files", "cuhs.losses", "cuhs.network"),
    },
    # Names what is public; imported when it is used.
    "cuhs": {
        *("cuhs.build", "cuhs.data", "cuhs.errors", "cuhs.evaluation", "cuhs.export", "cuhs.network", "cuhs.raw"),
        "cuhs.retrieval",
    },
    "pipelines": set(),
    "pipelines.base": {"cuhs"},
    "pipelines.storage": {"cuhs", "pipelines.base"},
    "pipelines.tracking": {"cuhs", "pipelines.base", "pipelines.storage"},
    "pipelines.cluster": {"cuhs", "pipelines.base", "pipelines.storage", "pipelines.tracking"},
    "pipelines.evaluation": {"cuhs", "pipelines.base", "pipelines.tracking", "pipelines.cluster"},
    "pipelines.training": {"cuhs", "pipelines.base", "pipelines.storage", "pipelines.tracking", "pipelines.cluster"},
    "pipelines.tuning": {
        *("cuhs", "pipelines.base", "pipelines.tracking", "pipelines.cluster", "pipelines.evaluation"),
        "pipelines.training",
    },
    "pipelines.paper": {"cuhs", "pipelines.base", "pipelines.tracking", "pipelines.evaluation"},
    "pipelines.stages": {
        *("cuhs", "pipelines.base", "pipelines.cluster", "pipelines.evaluation", "pipelines.training"),
        "pipelines.tuning",
    },
    "pipelines.commands": {
        *("cuhs", "pipelines.base", "pipelines.storage", "pipelines.tracking", "pipelines.cluster"),
        *("pipelines.evaluation", "pipelines.paper", "pipelines.stages"),
    },
    # Names its commands as text and imports the one that is asked for.
    "pipelines.main": {"cuhs"},
}
# No module of the library imports these.
PIPELINE_LIBRARIES = {"ray", "mlflow", "dvc", "boto3", "optuna", "hydra", "pipelines"}
# Each takes a second or more to import.
SLOW = {"torch", "torchvision", "ray", "mlflow", "dvc", "scipy", "pandas", "matplotlib", "boto3", "sklearn", "optuna"}

TOP = {
    *("cuhs", "pipelines", "infra", "tests", "benchmarks", "docs", "examples"),
    *("dvc.yaml", "dvc.lock", "params.yaml", "README.md", "Makefile", "pyproject.toml", "requirements.lock"),
    *("LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(".ci", ".dvc", ".gitattributes", ".github", ".gitignore", ".dvcignore", ".pre-commit-config.yaml"),
}


def forbidden(module: str, names: Iterable[str], arrows: Mapping[str, set[str]] = ARROWS) -> list[str]:
    """``module -> import`` for each import of the project that no arrow allows."""
    own = package_of(module)
    found = []
    for name in names:
        other = package_of(name)
        library = other.split(".")[0]
        if library not in ("cuhs", "pipelines") or other == own:
            continue
        if other not in arrows[own] and library not in arrows[own]:
            found.append(f"{module} -> {name}")
    return sorted(found)


def strangers(paths: Iterable[str]) -> set[str]:
    """Names at the top that are not on the list."""
    return {path.split("/")[0] for path in paths} - TOP


@pytest.fixture(scope="module")
def sources() -> dict[str, set[str]]:
    """All that each module of the project imports, also inside functions."""
    return {module: imported(module) for library in ("cuhs", "pipelines") for module in modules(library)}


def test_every_import_follows_the_arrows(sources: dict[str, set[str]]) -> None:
    assert len(sources) > 150
    assert [line for module, names in sources.items() for line in forbidden(module, names)] == []


def test_every_package_has_its_arrows_and_stands_below_what_it_imports(sources: dict[str, set[str]]) -> None:
    assert {package_of(module) for module in sources} == ARROWS.keys()
    above: set[str] = set()
    for package, allowed in ARROWS.items():
        assert allowed <= above, f"{package} may import {allowed - above}, which stand below it"
        above.add(package)


def test_no_arrow_is_allowed_that_nobody_needs(sources: dict[str, set[str]]) -> None:
    used = {(package_of(module), package_of(name)) for module, names in sources.items() for name in names}
    for package, allowed in ARROWS.items():
        needed = {other if other in allowed else other.split(".")[0] for own, other in used if own == package}
        assert allowed <= needed, f"{package} does not import {allowed - needed}"


def test_no_module_imports_itself_by_way_of_others(sources: dict[str, set[str]]) -> None:
    # Imports inside functions are followed, too: who hides a circle has one.
    left = {
        module: {found for name in names if (found := module_named(name, sources)) and found != module}
        for module, names in sources.items()
    }
    while free := [module for module, needed in left.items() if not needed & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


def module_named(name: str, sources: Mapping[str, set[str]]) -> str | None:
    """The module of the project that an imported name is, or is in."""
    if name in sources:
        return name
    parent = name.rpartition(".")[0]
    # A name in a package is its __init__'s, which imports nothing.
    return parent if parent in sources else None


def test_the_library_knows_nothing_of_the_pipeline(sources: dict[str, set[str]]) -> None:
    library = {module: names for module, names in sources.items() if module.split(".")[0] == "cuhs"}
    assert [
        f"{module} -> {name}"
        for module, names in library.items()
        for name in names
        if name.split(".")[0] in PIPELINE_LIBRARIES
    ] == []


def test_stages_are_imported_by_commands_alone(sources: dict[str, set[str]]) -> None:
    importing = {module for module, names in sources.items() if any(n.startswith("pipelines.stages.") for n in names)}
    assert importing == {"pipelines.commands.build", "pipelines.commands.evaluate"}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("cuhs.evaluation.groups", "cuhs.network.cuhs.CUHS"),
        ("cuhs.data.dataset", "cuhs.build.build"),
        ("cuhs.raw.sources", "cuhs.build.config.DatasetConfig"),
        ("cuhs.network.cuhs", "cuhs.training.schedule.adam"),
        ("cuhs.losses", "pipelines.base.params.Params"),
        ("pipelines.base.cli", "pipelines.cluster.submit"),
        ("pipelines.tracking.registry", "pipelines.evaluation.comparison"),
        ("pipelines.commands.summary", "pipelines.training.network"),
        ("pipelines.stages.train", "pipelines.stages.pretrain_hsl"),
    ],
)
def test_a_forbidden_import_is_found(module: str, name: str) -> None:
    if package_of(module) == package_of(name):
        assert name.startswith("pipelines.stages."), "within a package only stages may not know each other"
    else:
        assert forbidden(module, [name]) == [f"{module} -> {name}"]


def test_imports_are_found_wherever_they_stand() -> None:
    code = "import a.b, c as d\nfrom e import f\ndef g():\n    from h.i import j\nif True:\n    import k\n"
    assert imported("x.y", code) == {"a.b", "c", "e.f", "h.i.j", "k"}
    assert imported("x.y.z", "from . import a\nfrom ..b import c") == {"x.y.a", "x.b.c"}


def test_help_imports_nothing_slow() -> None:
    code = f"""
import contextlib, io, sys
from pipelines.main import COMMANDS, main
for argv in [["--help"], *([name, "--help"] for name in COMMANDS)]:
    printed = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(printed):
        main(argv)
    assert "usage:" in printed.getvalue(), argv
    slow = {SLOW!r} & sys.modules.keys()
    assert not slow, (argv, slow)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_summary_of_a_finished_run_imports_neither_ray_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    measures = dict.fromkeys(("mAP", "rank1", "rank5", "rank10"), 50.0) | {"queries": 3, "gallery": 9}
    (tmp_path / "reports/metrics.json").write_text(str({"all": measures}).replace("'", '"'))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pipelines.commands.summary import main
assert main([]) == 0
assert not {{"ray", "torch", "mlflow"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "50.0" in done.stderr


def test_nothing_else_lies_at_the_top_of_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "cuhs/__init__.py" in listed
    assert strangers(listed.splitlines()) == set()


def test_a_stranger_at_the_top_is_found() -> None:
    assert strangers(["cuhs/errors.py", "notes.txt", "scripts/run.sh", "docs/decisions.md"]) == {
        "notes.txt",
        "scripts",
    }


def test_files_are_short_enough_to_read() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for library in ("cuhs", "pipelines")
        for path in (ROOT / library).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 330} == {}


def test_every_module_says_what_it_is_for() -> None:
    for library in ("cuhs", "pipelines"):
        for path in sorted((ROOT / library).rglob("*.py")):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_whoever_opens_an_image_names_the_formats() -> None:
    opened, named = [], []
    for library in ("cuhs", "pipelines"):
        for path in sorted((ROOT / library).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                    opened.append(path.name)
                    named += [path.name for keyword in node.keywords if keyword.arg == "formats"]
    # Pillow would try every decoder that it has, and some start programs.
    assert opened == named and "images.py" in opened
