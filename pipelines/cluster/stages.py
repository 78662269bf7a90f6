"""What a stage needs and makes, as ``dvc.yaml`` has it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Where DVC keeps data; everything else that a stage depends on is code.
DATA = ("data", "models", "reports")
FILES = (Path("dvc.yaml"), Path("pipelines/dvc.yaml"))


@dataclass(frozen=True)
class Stage:
    """A stage's data, as paths relative to the project: ``inputs`` that it depends on, ``outputs`` that it makes."""

    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]


def read(name: str) -> Stage:
    """The stage of this name."""
    stages: dict[str, Any] = {}
    for path in FILES:
        stages |= yaml.safe_load(path.read_text())["stages"]
    stage = stages[name]
    made = [path for kind in ("outs", "metrics", "plots") for path in _paths(stage.get(kind, []))]
    return Stage(tuple(path for path in _paths(stage["deps"]) if path.parts[0] in DATA), tuple(made))


def _paths(listed: list[Any]) -> list[Path]:
    """Entries are paths, or a path with its settings."""
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in listed]
