"""Fine-tunes the torso network of :mod:`cuhs.build.colours.network`."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cuhs.build.colours.network import HEIGHT, MARGIN, WIDTH, TorsoNetwork, inputs, one_thread
from cuhs.network.backbone import backbone

EPOCHS, BATCH = 6, 64
# The highest learning rates of the body, which is pretrained, and of the head.
RATES = 6e-4, 2e-3
SMOOTHING = 0.05
# Pixels of the square that is erased.
ERASED = 16


@dataclass(frozen=True)
class Task:
    """One network to train, for one process.

    Attributes:
        weights: the MobileNetV2's initial weights, as for :func:`cuhs.network.backbone.backbone`.
        seed: the seed of everything drawn.
        torsos: (N, 3, 72, 64) uint8 of :func:`cuhs.build.colours.network.levelled`.
        labels: (N,) positions in :data:`cuhs.raw.labels.COLOURS`.
    """

    weights: str
    seed: int
    torsos: Tensor
    labels: Tensor


def trained(task: Task) -> TorsoNetwork:
    """Fine-tune a network on one core; the same task gives the same weights."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return _trained(task)


def _trained(task: Task) -> TorsoNetwork:
    network = TorsoNetwork().train()
    whole = backbone("mobilenet_v2", task.weights)
    begun = [*whole.base.children(), *whole.rest.children()][: len(network.body)]
    network.body.load_state_dict(nn.Sequential(*begun).state_dict())
    optimizer = torch.optim.AdamW(
        [{"params": network.body.parameters()}, {"params": network.head.parameters()}], weight_decay=0.02
    )
    steps = EPOCHS * (len(task.torsos) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(RATES), total_steps=steps, pct_start=0.2)
    epochs = [torch.randperm(len(task.torsos))[: steps // EPOCHS * BATCH] for _ in range(EPOCHS)]
    for rows in torch.cat(epochs).split(BATCH):
        scores = network(varied(inputs(task.torsos[rows])))
        loss = F.cross_entropy(scores, task.labels[rows], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def varied(batch: Tensor) -> Tensor:
    """Augment a batch to (N, 3, 64, 56): shifted, flipped, in other light, and with a piece erased."""
    count = len(batch)
    y, x = torch.randint(0, 2 * MARGIN + 1, (2,)).tolist()
    batch = batch[:, :, y : y + HEIGHT - 2 * MARGIN, x : x + WIDTH - 2 * MARGIN]
    batch = torch.where(torch.rand(count, 1, 1, 1) < 0.5, batch.flip(3), batch)
    batch = batch * (1 + 0.1 * torch.randn(count, 1, 1, 1)) + 0.1 * torch.randn(count, 1, 1, 1)
    batch = batch + 0.05 * torch.randn(count, 3, 1, 1)
    y, x = (int(torch.randint(0, size - ERASED, ())) for size in batch.shape[2:])
    batch[:, :, y : y + ERASED, x : x + ERASED] = 0
    return batch
