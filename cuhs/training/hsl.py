"""Training step 1 (Eq. 15): the localiser alone, and how accurately it localises."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from cuhs.data.dataset import Batch
from cuhs.losses import hsl_loss
from cuhs.network.head_shoulder import iou, theta_to_box
from cuhs.training.config import HslTraining
from cuhs.training.epoch import Epoch, train_steps


def split_boxed(pids: np.ndarray, boxes: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the boxed images by identity; return the indices to train on and the held-out indices.

    Args:
        pids: (N,) identities.
        boxes: (N, 4), NaN where there is none.
        held_out: share of the identities to hold out; at least one is held out and one is kept.
        seed: seed of the choice.
    """
    boxed = np.flatnonzero(~np.isnan(boxes[:, 0]))
    identities = np.unique(pids[boxed])
    shuffled = np.random.default_rng(seed).permutation(identities)
    count = min(max(1, round(held_out * len(identities))), len(identities) - 1)
    held = np.isin(pids[boxed], shuffled[:count])
    return boxed[~held], boxed[held]


def train_hsl_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    config: HslTraining,
    epoch: Epoch,
) -> dict[str, float]:
    """Train the HSL for one epoch; all images must have a box. Arguments as for :func:`.reid.train_epoch`.

    Returns:
        This worker's means over the whole epoch: ``loss``, the final ``lr``, ``images_per_second`` and ``waiting``.
    """
    model.train()
    device = next(model.parameters()).device

    def losses(batch: Batch) -> dict[str, Tensor]:
        images, boxes = batch.inputs(device)
        return {"loss": hsl_loss(model(images), boxes)}

    return train_steps(losses, batches, optimizer, config, epoch)


@torch.no_grad()
def mean_iou(localise: nn.Module, batches: Iterable[Batch], device: torch.device) -> float:
    """Compute the mean IoU of predicted and true boxes; all images must have a box.

    Args:
        localise: maps images (n, 3, H, W) to T_θ (n, 4).
        batches: images without augmentation.
        device: device of the localiser.
    """
    localise.eval()
    values = []
    for batch in batches:
        images, boxes = batch.inputs(device)
        values.append(iou(theta_to_box(localise(images)), boxes).cpu())
    return float(torch.cat(values).mean())


def constant_box_iou(train: np.ndarray, held_out: np.ndarray) -> float:
    """Compute the IoU of always predicting the mean training box, the baseline that a localiser has to beat.

    Args:
        train, held_out: boxes (N, 4) and (M, 4), none of them NaN.
    """
    mean = torch.from_numpy(train.mean(0, keepdims=True)).expand(len(held_out), 4)
    return float(iou(mean, torch.from_numpy(held_out)).mean())
