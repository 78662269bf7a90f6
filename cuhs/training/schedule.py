"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from cuhs.training.config import Schedule


def adam(module: nn.Module, schedule: Schedule) -> torch.optim.Adam:
    """Make Adam with β = (0.9, 0.999) for the trainable parameters; only matrices and kernels decay.

    Weight decay would only pull normalisation layers and GeM's exponent to zero, without benefit.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(
        [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.lr,
        # One pass over each tensor takes a quarter of the time of PyTorch's default.
        fused=True,
    )


def learning_rate(schedule: Schedule, epoch: float) -> float:
    """Return the learning rate at ``epoch``, which counts from 0 and has fractions within an epoch.

    Steps divide by 10 at each milestone (section 5.1). The cosine ends at a hundredth of the initial rate.
    """
    if epoch < schedule.warmup_epochs:
        return schedule.lr * (0.01 + 0.99 * epoch / schedule.warmup_epochs)
    if schedule.decay == "steps":
        return schedule.lr * 0.1 ** sum(epoch >= milestone for milestone in schedule.milestones)
    done = (epoch - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return schedule.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
