"""Main training (Eq. 14): one epoch at a time, the same on one worker and on many."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from cuhs.data.dataset import Batch
from cuhs.losses import metric_loss, total_loss
from cuhs.network.cuhs import CUHS
from cuhs.training.config import ReIDTraining
from cuhs.training.schedule import learning_rate, set_learning_rate


class Classified(nn.Module):
    """The network with a classifier for each of its branches; only training needs the classifiers.

    Args:
        network: what is trained.
        identities: number of classes.
    """

    def __init__(self, network: CUHS, identities: int) -> None:
        super().__init__()
        self.network = network
        self.classifiers = nn.ModuleDict(
            {name: nn.Linear(width, identities, bias=False) for name, width in network.widths.items()}
        )
        for classifier in self.classifiers.values():
            nn.init.normal_(cast(Tensor, classifier.weight), std=0.001)

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Images (n, 3, H, W) to features {branch: (n, c)} and logits {branch: (n, identities)}."""
        features = self.network(images)
        necked = self.network.classified(features)
        return features, {name: self.classifiers[name](necked[name]) for name in features}


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    steps: int,
    optimizer: torch.optim.Optimizer,
    config: ReIDTraining,
    epoch: int,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> dict[str, float]:
    """One pass over ``batches``.

    Args:
        model: :class:`Classified`, wrapped for distributed training or not.
        batches: this worker's part of each global batch.
        steps: how many they are.
        optimizer: over the model's parameters.
        config: losses and schedule.
        epoch: counted from 0.
        device: of the model.
        on_step: called with (done, steps) after each step, for progress.

    Returns:
        Means of this worker: ``loss``, its terms ``loss/cross_entropy/BRANCH`` and, by the metric loss's name,
        ``loss/triplet/BRANCH``, ``lr`` at the end, and ``images_per_second``.
    """
    model.train()
    metric = metric_loss(config.metric_loss, config.margin)
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    images, started, rate = 0, time.perf_counter(), 0.0
    for step, batch in enumerate(batches):
        rate = learning_rate(config, epoch + step / steps)
        set_learning_rate(optimizer, rate)
        labels = batch.labels.to(device, non_blocking=True)
        inputs = batch.images.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            features, logits = model(inputs)
        loss, terms = total_loss(features, logits, labels, metric, config.eta_1, config.eta_2, config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        for name, value in {"": loss.detach(), **terms}.items():
            sums[f"loss/{name.replace('metric', config.metric_loss)}".rstrip("/")] += value
        images += len(labels)
        on_step(step + 1, steps)
    means = {name: float(value) / steps for name, value in sums.items()}
    return {**means, "lr": rate, "images_per_second": images / (time.perf_counter() - started)}
