"""The manifests are what Kubernetes and KubeRay read, bounded and unprivileged. Nothing is applied here."""

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.infra.kuberay import schema
from tests.infra.manifests import (
    LOCKED,
    ROOT,
    documents,
    image_faults,
    images,
    kubernetes,
    nodes,
    pod_faults,
    pod_templates,
    yaml_files,
)

KUBERNETES = "1.37"
RAY = ROOT / "infra" / "kuberay"


def validate(document: dict[str, Any]) -> None:
    """Against Kubernetes' published schema, strictly; KubeRay's kinds as far as tests/infra/kuberay.py knows them."""
    if document["apiVersion"].startswith("ray.io/"):
        jsonschema.Draft202012Validator(schema(document["kind"])).validate(document)
        for template in pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def ray_cluster(name: str) -> dict[str, Any]:
    (document,) = documents(RAY / name)
    return document["spec"].get("rayClusterSpec", document["spec"])


def test_every_yaml_file_parses() -> None:
    assert len(yaml_files()) >= 10
    for path in yaml_files():
        assert documents(path), path


@pytest.mark.parametrize(("place", "document"), kubernetes(), ids=[place for place, _ in kubernetes()])
def test_a_manifest_is_what_kubernetes_reads(place: str, document: dict[str, Any]) -> None:
    validate(document)


def test_both_of_kuberay_s_kinds_have_their_pods_checked() -> None:
    templates = dict.fromkeys(("RayCluster", "RayJob"), 0)
    for _, document in kubernetes():
        if document["kind"] in templates:
            templates[document["kind"]] += len(pod_templates(document))
    assert templates == {"RayCluster": 2, "RayJob": 2}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.replica", 1),
        ("Deployment", "spec.template.spec.containers.0.image", 5),
        ("NetworkPolicy", "spec.podSelectors", {}),
        ("RayCluster", "spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("RayCluster", "spec.gcsFaultTolerance", {}),
        ("RayCluster", "spec.workerGroupSpecs.0.minReplica", 0),
        ("RayCluster", "spec.workerGroupSpecs.0.template.spec.containers.0.command", "ray start"),
        ("RayJob", "spec.backoffLimits", 2),
        ("RayJob", "spec.rayClusterSpec.headGroupSpec.template.spec.initContainers.0.volume", []),
    ],
)
def test_a_wrong_key_or_type_is_found(kind: str, path: str, value: Any) -> None:
    document = copy.deepcopy(next(d for _, d in kubernetes() if d["kind"] == kind))
    *parents, last = path.split(".")
    inner: Any = document
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(document)


@pytest.mark.parametrize(("place", "document"), kubernetes(), ids=[place for place, _ in kubernetes()])
def test_no_pod_may_more_than_it_has_to(place: str, document: dict[str, Any]) -> None:
    assert [fault for template in pod_templates(document) for fault in pod_faults(template["spec"], place)] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hostNetwork": True}, "x: hostNetwork"),
        ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "x: hostPath"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "x: not runAsNonRoot"),
        ({"securityContext": {"runAsNonRoot": True}}, "x: no seccomp profile"),
        ({"resources": {"requests": {"cpu": "1"}}}, "x/ray-head: no limits"),
        ({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, "x/ray-head: requests are not the limits"),
        ({"securityContext.privileged": True}, "x/ray-head: may gain privileges"),
        ({"securityContext.capabilities": {"add": ["SYS_ADMIN"]}}, "x/ray-head: has capabilities"),
        (
            {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}]},
            "x/ray-head: AWS_SECRET_ACCESS_KEY is written out",
        ),
    ],
)
def test_a_pod_that_may_more_is_found(change: dict[str, Any], fault: str) -> None:
    pod = copy.deepcopy(pod_templates(documents(RAY / "raycluster.yaml")[0])[0]["spec"])
    assert pod_faults(pod, "x") == []
    for key, value in change.items():
        if "." in key:
            pod["containers"][0]["securityContext"][key.partition(".")[2]] = value
        else:
            (pod["containers"][0] if key in ("resources", "env") else pod)[key] = value
    assert fault in pod_faults(pod, "x")


def test_every_image_has_a_version_and_that_of_the_lock() -> None:
    found = images()
    assert {image.rpartition("/")[2].partition(":")[0] for _, image in found} >= {
        "cuhs-ray",
        "cuhs-mlflow",
        "postgres",
    }
    assert [fault for _, image in found for fault in image_faults(image)] == []


@pytest.mark.parametrize(
    "image",
    ["postgres", "postgres:latest", "registry.example.com/cuhs-ray:2.59.0", "cuhs-mlflow:3.0.0", "postgres:17.7"],
)
def test_an_image_without_a_version_or_with_another_is_found(image: str) -> None:
    assert len(image_faults(image)) == 1


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_kuberay_is_told_the_version_of_ray_in_the_lock(name: str) -> None:
    assert ray_cluster(name)["rayVersion"] == LOCKED["ray"]


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_ray_asks_for_a_token_and_its_workers_have_gpus(name: str) -> None:
    cluster = ray_cluster(name)
    assert cluster["authOptions"] == {"mode": "token"}
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_job_s_cluster_goes_after_it_and_a_failed_one_is_tried_again() -> None:
    (job,) = documents(RAY / "rayjob.yaml")
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["ttlSecondsAfterFinished"] == 600
    assert job["spec"]["backoffLimit"] == 2
    assert job["spec"]["entrypoint"].removeprefix("bash /workspace/cuhs/") == "infra/kuberay/job.sh"


def test_the_head_s_state_outlives_it() -> None:
    cluster = ray_cluster("raycluster.yaml")
    address, _, port = cluster["gcsFaultToleranceOptions"]["redisAddress"].rpartition(":")
    services = {d["metadata"]["name"]: d["spec"] for d in documents(RAY / "valkey.yaml") if d["kind"] == "Service"}
    assert services[address]["ports"][0]["port"] == int(port)
    assert cluster["workerGroupSpecs"][0]["minReplicas"] == 0


def test_every_secret_and_config_map_that_is_named_is_said_to_be_made() -> None:
    """By a manifest, or by hand as docs/operations.md says."""
    made = {d["metadata"]["name"] for _, d in kubernetes() if d["kind"] == "ConfigMap"}
    documentation = (ROOT / "docs" / "operations.md").read_text()
    named = {
        (kind, node[kind]["name"])
        for _, document in kubernetes()
        for node in nodes(document)
        for kind in ("secretKeyRef", "configMapRef")
        if kind in node
    }
    assert len(named) >= 6
    for kind, name in named:
        assert name in made if kind == "configMapRef" else f"secret generic {name} " in documentation, name


def test_every_selector_and_policy_picks_pods_that_there_are() -> None:
    labels = [template["metadata"]["labels"] for _, d in kubernetes() for template in pod_templates(d)]
    wanted = [d["spec"]["selector"] for _, d in kubernetes() if d["kind"] == "Service"]
    wanted += [d["spec"]["podSelector"]["matchLabels"] for _, d in kubernetes() if d["kind"] == "NetworkPolicy"]
    assert len(wanted) == 7
    for selector in wanted:
        assert any(selector.items() <= pod.items() for pod in labels), selector
