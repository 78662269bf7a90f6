"""Main training (Eq. 14): one epoch at a time, the same on one worker and on many."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from cuhs.data.dataset import Batch
from cuhs.losses import metric_loss, total_loss
from cuhs.network.cuhs import CUHS
from cuhs.training.config import ReIDTraining
from cuhs.training.epoch import Epoch, train_steps


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
    optimizer: torch.optim.Optimizer,
    config: ReIDTraining,
    epoch: Epoch,
) -> dict[str, float]:
    """One pass over ``batches``.

    Args:
        model: :class:`Classified`, wrapped for distributed training or not; trained on the device that it is on.
        batches: this worker's part of each global batch, without those that are done.
        optimizer: over the model's parameters.
        config: losses and schedule.
        epoch: its part grows with each step.

    Returns:
        Means of this worker over the whole epoch: ``loss``, its terms ``loss/cross_entropy/BRANCH`` and, by the
        metric loss's name, ``loss/triplet/BRANCH``; ``lr`` at the end, and ``images_per_second``.
    """
    model.train()
    device = next(model.parameters()).device
    metric = metric_loss(config.metric_loss, config.margin)

    def losses(batch: Batch) -> dict[str, Tensor]:
        labels = batch.labels.to(device, non_blocking=True)
        inputs = batch.images.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            features, logits = model(inputs)
        loss, terms = total_loss(features, logits, labels, metric, config.eta_1, config.eta_2, config.label_smoothing)
        named = {f"loss/{name.replace('metric', config.metric_loss)}": value for name, value in terms.items()}
        return {"loss": loss, **named}

    return train_steps(losses, batches, optimizer, config, epoch)
