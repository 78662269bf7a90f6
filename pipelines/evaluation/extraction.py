"""Extracts the features of a split, with the labels that ranking needs."""

from collections.abc import Callable

import torch

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.features import Features
from cuhs.network.cuhs import CUHS
from cuhs.retrieval import embed
from pipelines.base.params import Params


def extract(
    model: CUHS,
    images: PersonImages,
    params: Params,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Features:
    """The features and labels of all images; ``on_batch`` is called with the number of images done."""
    features = embed(model, images, params.evaluate.batch, device, params.compute.loader_processes, on_batch)
    return Features(features, images.pids, images.camids, list(images.paths), images.groups, images.junk)
