"""The direction of the imports, and what lies at the top of the repository."""

import ast
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Whoever lies in the package on the left imports nothing of what stands on the right.
FORBIDDEN = {
    "cuhs": {"ray", "mlflow", "dvc", "boto3", "pipelines"},
    "cuhs.data": {"cuhs.network", "cuhs.training", "cuhs.evaluation", "cuhs.losses"},
    "cuhs.network": {"cuhs.data", "cuhs.training", "cuhs.evaluation"},
    "cuhs.evaluation": {
        "cuhs.network",
        "cuhs.training",
        "cuhs.losses",
        "cuhs.data",
        # These two bring the network with them.
        "cuhs.export",
        "cuhs.retrieval",
    },
}

TOP = {
    *("cuhs", "pipelines", "infra", "tests", "benchmarks", "docs"),
    *("dvc.yaml", "dvc.lock", "params.yaml", "README.md", "Makefile", "pyproject.toml", "requirements.lock"),
    *("LICENSE", "CONTRIBUTING.md", ".ci", ".dvc", ".github", ".gitignore", ".dvcignore", ".pre-commit-config.yaml"),
}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports(module: str, source: str, is_package: bool = False) -> set[str]:
    """Absolute names of all that a module imports, also inside functions; ``from a import b`` gives ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """``module -> import`` for each import that a rule forbids."""
    found = imports(module, source, is_package)
    return sorted(
        f"{module} -> {name}"
        for package, forbidden in FORBIDDEN.items()
        if within(module, package)
        for name in found
        if any(within(name, other) for other in forbidden)
    )


def strangers(paths: Iterable[str]) -> set[str]:
    """Names at the top that are not on the list."""
    return {path.split("/")[0] for path in paths} - TOP


def test_every_import_of_the_library_follows_the_arrows() -> None:
    files = sorted((ROOT / "cuhs").rglob("*.py"))
    assert {file.parent.name for file in files} >= {"cuhs", "data", "network", "training", "evaluation"}
    found = []
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found += violations(".".join(parts[:-1] if is_package else parts), file.read_text(), is_package)
    assert found == []


@pytest.mark.parametrize(
    ("module", "source", "name"),
    [
        ("cuhs.losses", "import ray", "ray"),
        ("cuhs.training.reid", "from ray import train", "ray.train"),
        ("cuhs.export", "import mlflow.pytorch", "mlflow.pytorch"),
        ("cuhs.data.shards", "def f():\n    from dvc.api import open", "dvc.api.open"),
        ("cuhs.images", "import numpy, boto3 as s3", "boto3"),
        ("cuhs", "from pipelines.base.params import Params", "pipelines.base.params.Params"),
        ("cuhs.data.dataset", "from cuhs import network", "cuhs.network"),
        ("cuhs.build.build", "import cuhs.training.reid", "cuhs.training.reid"),
        ("cuhs.synthetic.head", "from cuhs.evaluation.ranking import rank", "cuhs.evaluation.ranking.rank"),
        ("cuhs.data.dataset", "from cuhs.losses import hsl_loss", "cuhs.losses.hsl_loss"),
        ("cuhs.network.cuhs", "from ..data.shards import read_split", "cuhs.data.shards.read_split"),
        ("cuhs.network.cuhs", "from cuhs.training.schedule import adam", "cuhs.training.schedule.adam"),
        ("cuhs.network.streams", "from .. import evaluation", "cuhs.evaluation"),
        ("cuhs.evaluation.groups", "from cuhs.network.cuhs import CUHS", "cuhs.network.cuhs.CUHS"),
        ("cuhs.evaluation.metric", "import cuhs.training", "cuhs.training"),
        ("cuhs.evaluation.report", "if True:\n    from cuhs import losses", "cuhs.losses"),
        ("cuhs.evaluation.figures", "from cuhs.data.shards import SPLITS", "cuhs.data.shards.SPLITS"),
        ("cuhs.evaluation.figures", "from cuhs.retrieval import embed", "cuhs.retrieval.embed"),
        ("cuhs.evaluation.figures", "from cuhs.export import load", "cuhs.export.load"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str, name: str) -> None:
    assert violations(module, source) == [f"{module} -> {name}"]


def test_a_package_s_own_relative_imports_are_resolved_from_the_package() -> None:
    assert imports("cuhs.network", "from . import streams", is_package=True) == {"cuhs.network.streams"}
    assert violations("cuhs.network", "from ..data import shards", is_package=True) == [
        "cuhs.network -> cuhs.data.shards"
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cuhs.training.reid", "from cuhs.network.cuhs import CUHS\nfrom cuhs.data.dataset import Batch"),
        ("cuhs.evaluation.ranking", "from cuhs.errors import CuhsError\nimport torch"),
        ("cuhs.losses", "import raytracing, dvclive"),
        ("pipelines.stages.train", "import ray, mlflow\nfrom cuhs.network.cuhs import CUHS"),
    ],
)
def test_an_allowed_import_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_nothing_else_lies_at_the_top_of_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "cuhs/__init__.py" in listed
    assert strangers(listed.splitlines()) == set()


def test_a_stranger_at_the_top_is_found() -> None:
    assert strangers(["cuhs/errors.py", "notes.txt", "scripts/run.sh", "docs/decisions.md"]) == {
        "notes.txt",
        "scripts",
    }
