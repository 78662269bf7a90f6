"""A model evaluated on the test split of the built dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from matplotlib.figure import Figure

from cuhs.data.dataset import PersonImages
from cuhs.evaluation import figures
from cuhs.evaluation.features import ALL, Features
from cuhs.evaluation.groups import Group, Metrics, evaluate_groups
from cuhs.evaluation.reranking import rank_reranked
from cuhs.evaluation.thresholds import PairDistances, pair_distances
from cuhs.export import ModelCard
from cuhs.network.cuhs import CUHS
from pipelines.base.console import progress
from pipelines.base.params import Params
from pipelines.base.paths import DATASET
from pipelines.evaluation.extraction import extract


@dataclass(frozen=True)
class Evaluation:
    """A model's results on the test split; :func:`evaluated` makes them.

    Attributes:
        params: all parameters.
        model: the network, on the device where it extracted the features.
        card: the model's card.
        splits: the images of ``query`` and ``gallery``.
        features: the features of the same splits.
        groups: the ranking and measures of each group.
    """

    params: Params
    model: CUHS
    card: ModelCard
    splits: Mapping[str, PersonImages]
    features: Mapping[str, Features]
    groups: Mapping[str, Group]

    @property
    def metrics(self) -> dict[str, Metrics]:
        """The measures by group."""
        return {name: group.metrics for name, group in self.groups.items()}

    @cached_property
    def pairs(self) -> PairDistances:
        """Distances of all genuine and impostor pairs of the group ``all``."""
        query, gallery = (split.take(split.rows_of(ALL)) for split in self.features.values())
        return pair_distances(query, gallery, chunk_mb=self.params.evaluate.chunk_mb)

    @cached_property
    def reranked(self) -> dict[str, Metrics]:
        """The measures by group after re-ranking; empty if ``evaluate.rerank`` is none."""
        config = self.params.evaluate
        if config.rerank is None:
            return {}
        ranker = partial(rank_reranked, **config.rerank.model_dump())
        query, gallery = self.features["query"], self.features["gallery"]
        groups = evaluate_groups(query, gallery, chunk_mb=config.chunk_mb, ranker=ranker)
        return {name: group.metrics for name, group in groups.items()}

    @cached_property
    def curves(self) -> dict[str, Figure]:
        """The pictures ``cmc`` and, if there are genuine and impostor pairs, ``roc``."""
        pictures = {"cmc": figures.cmc_curves(self.groups)}
        if self.pairs.genuine.any() and self.pairs.impostor.any():
            pictures["roc"] = figures.roc_curve(self.pairs)
        return pictures


def evaluated(model: CUHS, card: ModelCard, params: Params) -> Evaluation:
    """Extract the features of the test split and rank them.

    Raises:
        CuhsError: the dataset cannot be read, or the features cannot be ranked.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and params.compute.gpu != "no" else "cpu")
    splits = {name: PersonImages(DATASET, name, card.height, card.width) for name in ("query", "gallery")}
    features = {name: _features(model, images, params, device) for name, images in splits.items()}
    groups = evaluate_groups(features["query"], features["gallery"], chunk_mb=params.evaluate.chunk_mb)
    return Evaluation(params, model, card, splits, features, groups)


def _features(model: CUHS, images: PersonImages, params: Params, device: torch.device) -> Features:
    with progress() as bar:
        task = bar.add_task(f"features of the {images.split} split", total=len(images))
        return extract(model, images, params, device, lambda done: bar.update(task, completed=done))
