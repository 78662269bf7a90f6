"""First step: who is held out, that the localiser learns, and how it is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from cuhs.data.augment import UNCHANGED, Augmentation
from cuhs.data.dataset import Batch, PersonImages, collate
from cuhs.data.sampler import ShuffleSampler
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import make_hsl
from cuhs.training.config import HslTraining
from cuhs.training.epoch import Epoch
from cuhs.training.hsl import constant_box_iou, mean_iou, split_boxed, train_hsl_epoch
from cuhs.training.schedule import adam

CPU = torch.device("cpu")


def test_the_held_out_identities_are_not_trained_on() -> None:
    pids = np.array([f"m/{i:04d}" for i in range(40) for _ in range(5)])
    boxes = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    boxes[::7] = np.nan
    trained, held = split_boxed(pids, boxes, held_out=0.1, seed=0)
    assert sorted([*trained, *held]) == np.flatnonzero(~np.isnan(boxes[:, 0])).tolist()
    assert not set(pids[trained]) & set(pids[held]) and len(set(pids[held])) == 4
    again = split_boxed(pids, boxes, held_out=0.1, seed=0)
    assert (again[0] == trained).all() and (again[1] == held).all()
    assert set(pids[split_boxed(pids, boxes, held_out=0.1, seed=1)[1]]) != set(pids[held])


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_at_least_one_identity_is_on_either_side(share: float, count: int) -> None:
    pids, boxes = np.array(["a", "b", "c", "d"]), np.zeros((4, 4), np.float32)
    trained, held = split_boxed(pids, boxes, share, seed=0)
    assert (len(trained), len(held)) == (4 - count, count)


def test_identities_without_a_box_are_in_neither_part() -> None:
    boxes = np.zeros((6, 4), np.float32)
    boxes[4:] = np.nan
    trained, held = split_boxed(np.array(list("aabbcc")), boxes, 0.9, seed=0)
    assert sorted([*trained, *held]) == [0, 1, 2, 3] and len(trained) == len(held) == 2


def batch_of(boxes: list[list[float]]) -> Batch:
    n = len(boxes)
    changes = torch.from_numpy(UNCHANGED).expand(n, -1)
    pixels, labels = torch.zeros(n, 8, 4, 3, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64)
    return Batch(pixels, labels, torch.tensor(boxes), changes)


def test_mean_iou_is_over_images_not_batches() -> None:
    class UpperHalf(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.5, 0.0, -0.5]]).expand(len(images), 4)

    upper, all_of_it, lower = [0.0, 0, 1, 0.5], [0.0, 0, 1, 1], [0.0, 0.5, 1, 1]
    found = mean_iou(UpperHalf(), [batch_of([upper, all_of_it, upper]), batch_of([lower])], CPU)
    assert found == pytest.approx((1 + 0.5 + 1 + 0) / 4)


def test_the_constant_box_is_the_mean_of_the_training_boxes() -> None:
    train = np.array([[0, 0, 1, 0.2], [0, 0, 1, 0.4]], np.float32)  # mean: the upper 0.3
    held = np.array([[0, 0, 1, 0.3], [0, 0, 1, 0.6], [0, 0.3, 1, 1]], np.float32)
    assert constant_box_iou(train, held) == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-6)


def test_the_localiser_learns_boxes(tiny_dataset: Path, tiny_config: NetworkConfig) -> None:
    torch.manual_seed(0)
    images = PersonImages(tiny_dataset, "train", 64, 32, Augmentation(flip=0.5, pad=0))
    boxed = np.flatnonzero(~np.isnan(images.boxes[:, 0]))
    config = HslTraining(epochs=20, lr=1e-3, batch=9)
    hsl = make_hsl(tiny_config)
    hsl.start_at(torch.tensor([0.3, 0.3, 0.9, 0.9]))  # far off
    optimizer = adam(hsl, config)
    sampler = ShuffleSampler(boxed, config.batch, config.seed)
    loader = DataLoader(images, batch_sampler=sampler, collate_fn=collate)
    held_out = DataLoader(Subset(images, boxed.tolist()), batch_size=9, collate_fn=collate)
    before = mean_iou(hsl, held_out, CPU)
    losses, steps = [], []
    for epoch in range(config.epochs):
        sampler.set_epoch(epoch)
        whole = Epoch(epoch, len(sampler), on_step=lambda *step: steps.append(step))
        metrics = train_hsl_epoch(hsl, loader, optimizer, config, whole)
        losses.append(metrics["loss"])
    assert losses[-1] < 0.2 * losses[0]
    assert metrics["lr"] == pytest.approx(1e-3) and metrics["images_per_second"] > 0
    assert steps == [(1, 2), (2, 2)] * config.epochs
    assert before < 0.1 and mean_iou(hsl, held_out, CPU) > before + 0.3
