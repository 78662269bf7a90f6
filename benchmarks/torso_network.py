"""``python -m benchmarks.torso_network --data RAW --weights FILE``: what a network adds to the colour classifier.

A MobileNetV2 up to stride 16 (0.24 million weights), begun with ImageNet's and fine-tuned on the torsos of the other
folds, beside :mod:`cuhs.data.clothing_colour` on the same folds of CUHK03's labelled people, and the mean of both.
FILE holds torchvision's weights of MobileNetV2. ``--division`` numbers the division into folds; two threads take
about ten minutes for one. The last line is JSON: F1 of black and white for each probability asked for.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clothing_colour import FOLDS, Labelled, folds, labelled
from cuhs.data.augment import MEAN, STD
from cuhs.data.clothing import COLOURS
from cuhs.data.clothing_colour import fit
from cuhs.data.head_shoulder_boxes import Box
from cuhs.data.torso import USUAL_BOX
from cuhs.network.backbone import backbone

# In heights of the head-shoulder box below its top, and in widths beside it; from the chin to the hips.
BELOW, DOWN_TO, BESIDE = 0.45, 2.15, 0.08
HEIGHT, WIDTH = 72, 64
# Crops move by up to this much in training.
SHIFT = 8
ERASED = 16
EPOCHS, BATCH = 6, 64
RATES = 6e-4, 2e-3
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)


class TorsoNetwork(nn.Module):
    """(N, 3, H, W) torsos to (N, 3) scores of :data:`cuhs.data.clothing.COLOURS`."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        parts = backbone("mobilenet_v2", weights)
        # Up to the last block of 64 channels.
        self.body = nn.Sequential(*parts.base, *parts.rest[:3])
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * parts.base_width, len(COLOURS)))

    def forward(self, torsos: Tensor) -> Tensor:
        """Scores before the softmax."""
        maps = self.body(torsos)
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torso_network", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True, help="torchvision's MobileNetV2, a state dict")
    parser.add_argument("--division", type=int, default=0)
    arguments = parser.parse_args()
    people, measures, colours = labelled("cuhk03", arguments.data).described()
    source = labelled("cuhk03", arguments.data, torso)
    torsos = torch.from_numpy(source.features).permute(0, 3, 1, 2).contiguous()
    number = {pid: row for row, pid in enumerate(people)}
    person = np.array([number[pid] for pid in source.pids])
    labels = torch.tensor([COLOURS.index(colour) for colour in colours])[person]
    fold_of = folds(colours, arguments.division)
    linear, seen = np.empty((len(people), len(COLOURS))), np.empty((len(person), len(COLOURS)))
    for fold in range(FOLDS):
        out = fold_of == fold
        linear[out] = fit(measures[~out], colours[~out].tolist()).probabilities(measures[out])
        known, unknown = np.flatnonzero(~out[person]), np.flatnonzero(out[person])
        torch.manual_seed(FOLDS * arguments.division + fold)
        network = trained(TorsoNetwork(arguments.weights), torsos[known], labels[known], f"fold {fold + 1}/{FOLDS}")
        seen[unknown] = probabilities(network, torsos[unknown])
    network_says = by_person(source, seen)
    results = {
        name: {
            colour: [
                round(f1_score(colours == colour, values[:, COLOURS.index(colour)] >= least), 3)
                for least in THRESHOLDS
            ]
            for colour in ("black", "white")
        }
        for name, values in (("linear", linear), ("network", network_says), ("mean", (linear + network_says) / 2))
    }
    print(json.dumps({"division": arguments.division, "probability": THRESHOLDS, **results}))


def torso(pixels: np.ndarray, box: Box | None) -> np.ndarray:
    """(72, 64, 3) uint8: the torso, in shares of what is dark and bright in the whole crop, which are 26 and 217."""
    x1, y1, x2, y2 = box or USUAL_BOX
    down, aside = y2 - y1, BESIDE * (x2 - x1)
    corners = np.array([x1 - aside, y1 + BELOW * down, x2 + aside, y1 + DOWN_TO * down]).clip(0, 1)
    size = pixels.shape[1::-1]
    region = tuple(corners * (*size, *size))
    cut = Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=region)
    dark, bright = np.percentile(pixels.reshape(-1, 3), (5, 95), axis=0)
    return (26 + 191 * (np.asarray(cut) - dark) / np.maximum(bright - dark, 20)).clip(0, 255).astype(np.uint8)


def inputs(torsos: Tensor) -> Tensor:
    """uint8 to what ImageNet's weights expect."""
    return (torsos / 255 - MEAN) / STD


def trained(network: TorsoNetwork, torsos: Tensor, labels: Tensor, name: str) -> TorsoNetwork:
    """Fine-tune it on (N, 3, 72, 64) uint8 torsos; torch's seed decides all that is drawn."""
    optimizer = torch.optim.AdamW(
        [{"params": network.body.parameters()}, {"params": network.head.parameters()}], weight_decay=0.02
    )
    steps = EPOCHS * (len(torsos) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(RATES), total_steps=steps, pct_start=0.2)
    drawn = torch.cat([torch.randperm(len(torsos))[: steps // EPOCHS * BATCH] for _ in range(EPOCHS)]).split(BATCH)
    network.train()
    for rows in track(drawn, name):
        scores = network(varied(inputs(torsos[rows])))
        loss = F.cross_entropy(scores, labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def varied(batch: Tensor) -> Tensor:
    """(N, 3, 64, 56): shifted, flipped, in another light, and with a piece erased."""
    count = len(batch)
    y, x = torch.randint(0, SHIFT + 1, (2,)).tolist()
    batch = batch[:, :, y : y + HEIGHT - SHIFT, x : x + WIDTH - SHIFT]
    batch = torch.where(torch.rand(count, 1, 1, 1) < 0.5, batch.flip(3), batch)
    batch = batch * (1 + 0.1 * torch.randn(count, 1, 1, 1)) + 0.1 * torch.randn(count, 1, 1, 1)
    batch = batch + 0.05 * torch.randn(count, 3, 1, 1)
    y, x = (int(torch.randint(0, size - ERASED, ())) for size in batch.shape[2:])
    batch[:, :, y : y + ERASED, x : x + ERASED] = 0
    return batch


@torch.inference_mode()
def probabilities(network: TorsoNetwork, torsos: Tensor) -> np.ndarray:
    """(N, 3) for the middle of each torso, the mean of it and its mirror image."""
    edge = SHIFT // 2
    parts = []
    for batch in torsos[:, :, edge:-edge, edge:-edge].split(256):
        shown = inputs(batch)
        parts.append((network(shown).softmax(1) + network(shown.flip(3)).softmax(1)) / 2)
    return torch.cat(parts).numpy()


def by_person(source: Labelled, values: np.ndarray) -> np.ndarray:
    """The mean over a person's cameras of the mean over the images of each."""
    pids, camids = np.array(source.pids, dtype=object), np.array([str(camid) for camid in source.camids])
    means = []
    for pid in dict.fromkeys(source.pids):
        own = pids == pid
        means.append(np.mean([values[own & (camids == camid)].mean(axis=0) for camid in set(camids[own])], axis=0))
    return np.array(means)


if __name__ == "__main__":
    main()
