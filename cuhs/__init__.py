"""Fine-grained person re-identification: the CUHS network, its data, its training and its evaluation.

Public names are imported on first use, so ``import cuhs`` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from cuhs.build.config import DatasetConfig
    from cuhs.data.dataset import PersonImages
    from cuhs.errors import CuhsError
    from cuhs.evaluation.features import Features
    from cuhs.evaluation.groups import evaluate_groups
    from cuhs.evaluation.metric import ReIDMetric
    from cuhs.evaluation.ranking import Ranking, rank, top_k
    from cuhs.export import ModelCard, load, save
    from cuhs.network.config import NetworkConfig
    from cuhs.network.cuhs import CUHS
    from cuhs.raw.config import Source
    from cuhs.retrieval import embed

_MODULES = {
    "CUHS": "cuhs.network.cuhs",
    "CuhsError": "cuhs.errors",
    "DatasetConfig": "cuhs.build.config",
    "Features": "cuhs.evaluation.features",
    "ModelCard": "cuhs.export",
    "NetworkConfig": "cuhs.network.config",
    "PersonImages": "cuhs.data.dataset",
    "Ranking": "cuhs.evaluation.ranking",
    "ReIDMetric": "cuhs.evaluation.metric",
    "Source": "cuhs.raw.config",
    "embed": "cuhs.retrieval",
    "evaluate_groups": "cuhs.evaluation.groups",
    "load": "cuhs.export",
    "rank": "cuhs.evaluation.ranking",
    "save": "cuhs.export",
    "top_k": "cuhs.evaluation.ranking",
}

__all__ = [
    "CUHS",
    "CuhsError",
    "DatasetConfig",
    "Features",
    "ModelCard",
    "NetworkConfig",
    "PersonImages",
    "Ranking",
    "ReIDMetric",
    "Source",
    "__version__",
    "embed",
    "evaluate_groups",
    "load",
    "rank",
    "save",
    "top_k",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
