"""What a stage needs and makes, read from ``dvc.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuhs.errors import CuhsError
from pipelines.base.yaml_files import read_yaml

# Folders of data; everything else that a stage depends on is code.
DATA = ("data", "models", "reports")
FILES = (Path("dvc.yaml"), Path("pipelines/dvc.yaml"))


@dataclass(frozen=True)
class Stage:
    """A stage's paths, relative to the project's root.

    Attributes:
        inputs: the data that it depends on.
        code: the files and folders of code that it depends on.
        outputs: the data that it makes.
    """

    inputs: tuple[Path, ...]
    code: tuple[Path, ...]
    outputs: tuple[Path, ...]


def read(name: str) -> Stage:
    """The stage of this name.

    Raises:
        CuhsError: a ``dvc.yaml`` is missing or damaged, or there is no such stage.
    """
    stages: dict[str, Any] = {}
    for path in FILES:
        try:
            stages |= read_yaml(path, "run from the project's root")["stages"]
        except (KeyError, TypeError) as error:
            raise CuhsError(
                f"{path}: holds no stages; run from the project's root, or git checkout {path}"
            ) from error
    if name not in stages:
        raise CuhsError(f"{name}: no such stage; there are {', '.join(stages)}")
    stage = stages[name]
    made = [path for kind in ("outs", "metrics", "plots") for path in _paths(stage.get(kind, []))]
    needed = _paths(stage["deps"])
    return Stage(
        inputs=tuple(path for path in needed if path.parts[0] in DATA),
        # A path that a parameter names (`${data.raw}`) is not code.
        code=tuple(path for path in needed if path.parts[0] not in DATA and "$" not in str(path)),
        outputs=tuple(made),
    )


def _paths(listed: list[Any]) -> list[Path]:
    """The paths of entries; an entry is a path, or a path with its settings."""
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in listed]
