"""docs/operations.md names variables, files and commands that there are."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.infra.manifests import LOCKED, ROOT

TEXT = (ROOT / "docs" / "operations.md").read_text()
VARIABLE = re.compile(r"\b(?:AWS|CUHS|GRAFANA|MLFLOW|RAY)_[A-Z0-9_]+\b")


def package(name: str, *parts: str) -> list[Path]:
    """Files of an installed package that match a pattern."""
    spec = find_spec(name)
    assert spec and spec.origin
    return [path for part in parts for path in sorted(Path(spec.origin).parent.glob(part))]


@cache
def known(prefix: str) -> frozenset[str]:
    """Variables with this prefix that their reader's source names."""
    sources: dict[str, Iterable[Path]] = {
        "CUHS": [*ROOT.glob("cuhs/**/*.py"), *ROOT.glob("pipelines/**/*.py")],
        "GRAFANA": ROOT.glob("infra/monitoring/compose.yaml"),
        "RAY": package("ray", "_private/**/*.py", "exceptions.py", "dashboard/modules/job/*.py"),
        "MLFLOW": package("mlflow", "environment_variables.py", "cli/*.py", "utils/cli_args.py"),
        "AWS": package("botocore", "*.py"),
    }
    return frozenset(name for path in sources[prefix] for name in VARIABLE.findall(path.read_text()))


def unknown_variables(text: str) -> set[str]:
    return {name for name in VARIABLE.findall(text) if name not in known(name.partition("_")[0])}


def missing_files(text: str) -> set[str]:
    """Paths of the repository that a text names and that are not there; a user makes `.env`."""
    named = re.findall(r"(?<![\w/$])((?:infra|tests|pipelines|docs|\.github)/[\w./-]*\w)", text)
    return {name for name in named if not name.endswith("/.env") and not (ROOT / name).exists()}


def test_every_variable_is_one_that_something_reads() -> None:
    assert {"CUHS_STORE", "RAY_AUTH_MODE", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"} <= set(VARIABLE.findall(TEXT))
    assert unknown_variables(TEXT) == set()


@pytest.mark.parametrize(
    "name", ["CUHS_STORAGE", "RAY_AUTHENTICATION", "MLFLOW_TRACKING_ADDRESS", "AWS_ENDPOINT", "GRAFANA_TOKEN"]
)
def test_a_variable_that_nothing_reads_is_found(name: str) -> None:
    assert unknown_variables(f"set `{name}`") == {name}


def test_every_file_is_there() -> None:
    assert missing_files(TEXT) == set()
    assert missing_files("see `infra/ray/clusters.yaml` and infra/ray/cluster.yaml") == {"infra/ray/clusters.yaml"}


def test_versions_are_those_of_the_lock() -> None:
    assert set(re.findall(r"cuhs-ray:(\d+\.\d+\.\d+)", TEXT)) == {LOCKED["ray"]}


def test_it_says_that_nothing_was_applied() -> None:
    assert re.search(r"they have not been applied to a cluster, and the images have not\s+been built", TEXT)


def test_every_row_of_the_faults_names_a_test_that_there_is() -> None:
    rows = TEXT.partition("| fault |")[2].splitlines()[2:]
    tests = [row.split("|")[5] for row in rows if row.startswith("|")]
    assert len(tests) >= 8
    assert all(re.search(r"`tests/\w+/test_\w+\.py`", test) for test in tests)
