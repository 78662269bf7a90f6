"""The images take what the lock has, on a Python that it is for, and do not run as root. None is built here."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.infra.manifests import INFRA, LOCKED, ROOT

DOCKERFILE = (INFRA / "docker" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["pipeline"]]
# What `ray[default]` adds: the dashboard with its job server, and the metrics of the nodes.
RAY_S_SERVERS = {"aiohttp", "aiohttp-cors", "colorful", "grpcio", "opencensus", "opentelemetry-exporter-prometheus"}


def faults(text: str) -> list[str]:
    """What is wrong with a Dockerfile."""
    found = []
    base = re.search(r"^ARG BASE=python:(\d+\.\d+)-slim-\w+(@sha256:[0-9a-f]{64})?$", text, re.MULTILINE)
    if base is None:
        found.append("no base with a version")
    elif base[1] not in SpecifierSet(PROJECT["requires-python"]):
        found.append(f"Python {base[1]} is not supported")
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[2:]:
        name = re.match(r"\S+ AS (\w+)", stage)
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        if not users or users[-1].split(":")[0] in ("0", "root"):
            found.append(f"{name and name[1]}: runs as root")
    for command in re.findall(r"(?:uv pip|python -m pip) install [^&\n]*", text):
        if "--require-hashes" not in command:
            found.append(f"without hashes: {command.strip()}")
    return [*found, *(f"copied: {line}" for line in re.findall(r"^(?:COPY|ADD) \..*", text, re.MULTILINE))]


def test_the_dockerfile_is_pinned_hashed_and_without_root() -> None:
    assert faults(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("python:3.11-slim-trixie\n", "python:latest\n", "no base with a version"),
        ("python:3.11-slim-trixie\n", "python:3.10-slim-trixie\n", "Python 3.10 is not supported"),
        ("USER 1000:1000\nWORKDIR /home/cuhs\nCMD", "USER root\nCMD", "ray: runs as root"),
        ("USER 1000:1000\nWORKDIR /home/cuhs\nEXPOSE", "EXPOSE", "mlflow: runs as root"),
        ("--require-hashes -r uv.txt", "-r uv.txt", "without hashes: python -m pip install --no-cache-dir"),
        ("COPY requirements.lock pyproject.toml ./", "COPY . .", "copied: COPY . ."),
    ],
)
def test_a_wrong_dockerfile_is_found(old: str, new: str, fault: str) -> None:
    assert old in DOCKERFILE
    assert any(found.startswith(fault) for found in faults(DOCKERFILE.replace(old, new)))


def test_the_image_s_python_is_the_one_that_the_lock_is_resolved_for() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (resolved,) = re.findall(r"--python-version (\S+)", makefile)
    assert f"python:{resolved}-slim" in DOCKERFILE


def test_versions_in_the_build_commands_are_those_of_the_lock() -> None:
    named = dict(re.findall(r"REGISTRY/cuhs-(\w+):(\S+)", DOCKERFILE))
    assert named == {"ray": LOCKED["ray"], "mlflow": LOCKED["mlflow"]}


def test_what_the_images_install_is_in_the_lock() -> None:
    """``uv`` takes versions and hashes from the lock, so it has to have each of them."""
    wanted = {canonicalize_name(Requirement(line).name) for line in DEPENDENCIES}
    (server,) = re.findall(r"\^\(([\w|-]+)\)==", DOCKERFILE)
    assert {"mlflow", "boto3", "psycopg2-binary"} == set(server.split("|"))
    assert wanted | set(server.split("|")) <= LOCKED.keys()


def test_ray_s_dashboard_job_server_and_metrics_are_in_the_lock() -> None:
    """Without ``ray[default]`` a head has no port 8265, and no job can be submitted to it."""
    assert RAY_S_SERVERS - LOCKED.keys() == set()


def test_the_build_sees_the_lock_and_not_the_checkout() -> None:
    lines = (INFRA / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["*", "!requirements.lock", "!pyproject.toml"]
