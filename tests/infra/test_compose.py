"""Compose files and CI's workflows against their published schemas, and servers that listen on loopback only."""

import copy
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.infra.manifests import INFRA, ROOT, documents

WRITTEN_OUT = "not a reference"
COMPOSE = sorted(INFRA.glob("*/compose.yaml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def validate(document: Any, name: str) -> None:
    """Against the schema of this name that check-jsonschema carries."""
    text = files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{name}.json").read_text()
    schema = json.loads(text)
    jsonschema.validators.validator_for(schema)(schema).validate(document)


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    (document,) = documents(path)
    return {"on" if key is True else key: value for key, value in document.items()}


def faults(compose: dict[str, Any]) -> list[str]:
    """Services that other machines reach, that may do too much or have no bounds, and secrets written out."""
    found = []
    for name, service in compose["services"].items():
        found += [f"{name}: {port}" for port in service.get("ports", []) if not str(port).startswith("127.0.0.1:")]
        if service.get("privileged") or service.get("cap_drop") != ["ALL"]:
            found.append(f"{name}: has capabilities")
        if "no-new-privileges:true" not in service.get("security_opt", []):
            found.append(f"{name}: may gain privileges")
        if not {"cpus", "memory"} <= service.get("deploy", {}).get("resources", {}).get("limits", {}).keys():
            found.append(f"{name}: no limits")
        if "healthcheck" not in service:
            found.append(f"{name}: no health check")
        found += [
            f"{name}: {key} is written out"
            for key, value in service.get("environment", {}).items()
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY", key) and not re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value))
        ]
    return found


@pytest.mark.parametrize("path", COMPOSE, ids=[path.parent.name for path in COMPOSE])
def test_a_compose_file_is_valid_and_closed(path: Path) -> None:
    validate(read(path), "compose-spec")
    assert faults(read(path)) == []


def test_there_are_compose_files_for_mlflow_and_for_monitoring() -> None:
    assert [path.parent.name for path in COMPOSE] == ["mlflow", "monitoring"]


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("ports", ["5000:5000"], "mlflow: 5000:5000"),
        ("ports", ["0.0.0.0:5000:5000"], "mlflow: 0.0.0.0:5000:5000"),
        ("cap_drop", [], "mlflow: has capabilities"),
        ("privileged", True, "mlflow: has capabilities"),
        ("security_opt", [], "mlflow: may gain privileges"),
        ("deploy", {}, "mlflow: no limits"),
        ("environment", {"PGPASSWORD": WRITTEN_OUT}, "mlflow: PGPASSWORD is written out"),
        ("environment", {"PGPASSWORD": "${PASSWORD:-mlflow}"}, "mlflow: PGPASSWORD is written out"),
    ],
)
def test_an_open_service_is_found(key: str, value: Any, fault: str) -> None:
    compose = copy.deepcopy(read(INFRA / "mlflow" / "compose.yaml"))
    compose["services"]["mlflow"][key] = value
    assert faults(compose) == [fault]


def test_a_wrong_key_of_a_service_is_found() -> None:
    compose = copy.deepcopy(read(INFRA / "mlflow" / "compose.yaml"))
    compose["services"]["mlflow"]["port"] = ["127.0.0.1:5000:5000"]
    with pytest.raises(jsonschema.ValidationError):
        validate(compose, "compose-spec")


def test_every_variable_of_a_compose_file_is_in_the_example() -> None:
    text = (INFRA / "mlflow" / "compose.yaml").read_text()
    example = (INFRA / "mlflow" / "env.example").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    assert wanted == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_a_workflow_is_one_of_github_and_may_only_read(path: Path) -> None:
    validate(read(path), "github-workflows")
    assert read(path)["permissions"] == {"contents": "read"}


def test_a_wrong_workflow_is_found() -> None:
    workflow = read(ROOT / ".github" / "workflows" / "ci.yml")
    workflow["jobs"]["test"]["step"] = []
    with pytest.raises(jsonschema.ValidationError):
        validate(workflow, "github-workflows")
