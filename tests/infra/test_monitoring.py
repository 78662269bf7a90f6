"""Grafana shows what Ray and this project export, by the names under which they do so."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.infra.manifests import INFRA, ROOT, documents

MONITORING = INFRA / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "cuhs.json").read_text())
WORD = re.compile(r"\b(ray_\w+)\b(?=\s*(?:\{|\[|\)|/|\+|\*|-|$))")


@cache
def of_ray() -> set[str]:
    """Names that the installed Ray exports: the gauges of its nodes' agents, and what its own panels ask for."""
    dashboard = Path(ray.__file__).parent / "dashboard" / "modules"
    agent = (dashboard / "reporter" / "reporter_agent.py").read_text()
    panels = sorted((dashboard / "metrics" / "dashboards").glob("*_panels.py"))
    return {f"ray_{name}" for name in re.findall(r'Gauge\(\s*"(\w+)"', agent)} | {
        name for panel in panels for name in re.findall(r"\b(ray_\w+)\{", panel.read_text())
    }


@cache
def of_pipelines() -> set[str]:
    """Names that the training exports; Ray puts its own before them."""
    source = "".join(path.read_text() for path in sorted((ROOT / "pipelines").rglob("*.py")))
    return {f"ray_{name}" for name in re.findall(r'(?:Gauge|Counter|Histogram)\(\s*"(cuhs_\w+)"', source)}


def unknown(expression: str) -> set[str]:
    """Metrics of an expression that nobody exports; labels in `by (…)` and in braces are none."""
    bare = re.sub(r"\b(?:by|without|on|ignoring) \([^)]*\)|\{[^}]*\}", "", expression)
    return set(WORD.findall(bare)) - of_ray() - of_pipelines()


def queries() -> list[Any]:
    return [
        pytest.param(target["expr"], id=panel["title"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.parametrize("expression", queries())
def test_a_panel_asks_for_what_is_exported(expression: str) -> None:
    assert WORD.search(expression)
    assert unknown(expression) == set()


def test_training_and_gpus_are_shown() -> None:
    text = json.dumps(DASHBOARD)
    for name in ("images_per_second", "waiting", "mfu", "gpu_memory_mib"):
        assert f"ray_cuhs_{name}" in text
    assert "ray_node_gpus_utilization" in text
    assert len(queries()) == 16


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("sum by (stage, run) (ray_cuhs_images_a_second)", {"ray_cuhs_images_a_second"}),
        ("rate(ray_train_blocked_time[5m])", {"ray_train_blocked_time"}),
        ("ray_node_mem_used / ray_node_mem", {"ray_node_mem"}),
        ('ray_node_cpu_count{ray_io_cluster="cuhs"}', set()),
    ],
)
def test_a_metric_that_nobody_exports_is_found(expression: str, names: set[str]) -> None:
    assert unknown(expression) == names


def test_panels_do_not_lie_over_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_use_the_data_source_that_is_provisioned() -> None:
    (sources,) = documents(MONITORING / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")
    (source,) = sources["datasources"]
    used = {t["datasource"]["uid"] for p in DASHBOARD["panels"] for t in p.get("targets", [])}
    assert used == {source["uid"]}
    (compose,) = documents(MONITORING / "compose.yaml")
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]


def test_prometheus_reads_the_list_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (config,) = documents(MONITORING / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def test_every_node_exports_on_the_port_that_is_scraped() -> None:
    """Kubernetes finds it by the name of a port, so KubeRay has to be told the same number."""
    for name in ("raycluster.yaml", "rayjob.yaml"):
        (document,) = documents(INFRA / "kuberay" / name)
        cluster = document["spec"].get("rayClusterSpec", document["spec"])
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            ports = {p["name"]: p["containerPort"] for p in group["template"]["spec"]["containers"][0]["ports"]}
            assert group["rayStartParams"]["metrics-export-port"] == str(ports["metrics"]) == "8080"
