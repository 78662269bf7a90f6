"""Training step 2 (Eq. 14): one epoch at a time, with the same result on one worker and on several."""

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
        network: network to train.
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
        """Map images (n, 3, H, W) to features {mined branch: (n, c)} and logits {branch: (n, identities)}."""
        features = self.network(images)
        necked = self.network.classified(features)
        logits = {name: self.classifiers[name](necked[name]) for name in features}
        return {name: features[name] for name in self.network.mined}, logits


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    config: ReIDTraining,
    epoch: Epoch,
) -> dict[str, float]:
    """Train for one epoch.

    Args:
        model: a :class:`Classified`, optionally wrapped for distributed training; trained on its own device.
        batches: this worker's part of each remaining global batch.
        optimizer: optimiser of the model's parameters.
        config: losses and schedule.
        epoch: the epoch; its ``part`` is updated with each step.

    Returns:
        This worker's means over the whole epoch: ``loss``, its terms ``loss/cross_entropy/BRANCH`` and (named
        after the metric loss) ``loss/triplet/BRANCH``; also the final ``lr``, ``images_per_second``
        and ``waiting``.
    """
    model.train()
    device = next(model.parameters()).device
    metric = metric_loss(config.metric_loss, config.margin)

    def losses(batch: Batch) -> dict[str, Tensor]:
        labels = batch.labels.to(device, non_blocking=True)
        images, _ = batch.inputs(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            features, logits = model(images)
        loss, terms = total_loss(features, logits, labels, metric, config.eta_1, config.eta_2, config.label_smoothing)
        named = {f"loss/{name.replace('metric', config.metric_loss)}": value for name, value in terms.items()}
        return {"loss": loss, **named}

    return train_steps(losses, batches, optimizer, config, epoch)
