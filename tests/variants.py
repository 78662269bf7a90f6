"""The networks of all variants, with a small backbone."""

from pathlib import Path

import yaml

from cuhs.network.config import NetworkConfig
from tests.imports import ROOT

FOLDER = ROOT / "pipelines/conf/variant"
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def network(variant: str, backbone: str) -> NetworkConfig:
    """A variant's network with narrow features and random weights."""
    text = Path(FOLDER / f"{variant}.yaml").read_text().replace('"${exploration.top_k}"', "0.2")
    chosen = {"channels": 8, **yaml.safe_load(text)["network"], "backbone": backbone, "weights": "none"}
    return NetworkConfig.model_validate(chosen)
