"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from cuhs.training.config import Schedule


def adam(module: nn.Module, schedule: Schedule) -> torch.optim.Adam:
    """Adam with β = (0.9, 0.999) over what is trainable; weight decay only where it shrinks a matrix.

    Decay on normalisation layers and on GeM's exponent would pull them to zero for nothing.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(
        [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.lr,
    )


def learning_rate(schedule: Schedule, epoch: float) -> float:
    """The rate at a point of the training, ``epoch`` counting from 0 and going on within an epoch.

    Steps divide by 10 at each milestone (section 5.1); the cosine ends at a hundredth of the rate.
    """
    if epoch < schedule.warmup_epochs:
        return schedule.lr * (0.01 + 0.99 * epoch / schedule.warmup_epochs)
    if schedule.decay == "steps":
        return schedule.lr * 0.1 ** sum(epoch >= milestone for milestone in schedule.milestones)
    done = (epoch - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return schedule.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Put a rate into every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
