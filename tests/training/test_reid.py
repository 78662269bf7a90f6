"""Second step: it learns, its numbers are what they say, and a resumed training is the undisturbed one."""

import copy
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from cuhs.data.augment import UNCHANGED, Augmentation
from cuhs.data.dataset import Batch, PersonImages, collate
from cuhs.data.sampler import IdentitySampler
from cuhs.losses import metric_loss, total_loss
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training import checkpoint
from cuhs.training.config import ReIDTraining
from cuhs.training.epoch import Epoch
from cuhs.training.reid import Classified, train_epoch
from cuhs.training.schedule import adam

CONFIG = ReIDTraining(epochs=4, lr=2e-3, identities=3, images_per_identity=2, warmup_epochs=1, decay="cosine")
AUGMENTATION = Augmentation(pad=4, jitter=0.1, erasing=0.2)

TIMES = ("images_per_second", "waiting")


class Training:
    """A model, its optimiser and its data, as a worker has them."""

    def __init__(
        self,
        dataset: Path,
        network: NetworkConfig,
        config: ReIDTraining = CONFIG,
        augmentation: Augmentation = AUGMENTATION,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.config = config
        images = PersonImages(dataset, "train", 64, 32, augmentation)
        self.model = Classified(CUHS(network, make_hsl(network)), len(images.identities))
        self.optimizer = adam(self.model, config)
        self.sampler = IdentitySampler(images.labels, config.identities, config.images_per_identity, config.seed)
        self.loader = DataLoader(images, batch_sampler=self.sampler, collate_fn=collate)

    def epoch(self, epoch: int) -> dict[str, float]:
        self.sampler.set_epoch(epoch)
        return train_epoch(self.model, self.loader, self.optimizer, self.config, Epoch(epoch, len(self.sampler)))


def test_classifiers_are_matrices_on_the_necked_features(tiny_network: CUHS) -> None:
    model = Classified(tiny_network, 5).eval()
    with torch.no_grad():
        features, logits = model(torch.rand(2, 3, 64, 32))
    assert list(features) == list(logits) == ["bn", "in1", "in2", "head_shoulder"]
    for name, feature in features.items():
        matrix = model.classifiers[name].weight
        assert matrix.shape == (5, 8) and model.classifiers[name].bias is None
        torch.testing.assert_close(logits[name], torch.einsum("kc,nc->nk", matrix, feature))


def test_training_lowers_the_loss(tiny_dataset: Path, tiny_config: NetworkConfig) -> None:
    config = ReIDTraining(epochs=8, lr=3e-3, identities=6, images_per_identity=2)
    training = Training(tiny_dataset, tiny_config, config, Augmentation(flip=0, pad=0))
    history = [training.epoch(epoch) for epoch in range(config.epochs)]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    for branch in ("bn", "in1", "in2", "head_shoulder"):
        assert history[-1][f"loss/cross_entropy/{branch}"] < history[0][f"loss/cross_entropy/{branch}"]
    for metrics in history:
        terms = [value for name, value in metrics.items() if name.startswith("loss/")]
        assert len(terms) == 8 and sum(terms) == pytest.approx(metrics["loss"], rel=1e-4)


def test_a_resumed_training_is_bit_for_bit_the_undisturbed_one(
    tiny_dataset: Path, tiny_config: NetworkConfig, tmp_path: Path
) -> None:
    straight = Training(tiny_dataset, tiny_config)
    for epoch in range(3):
        expected = straight.epoch(epoch)
        if epoch == 1:
            state = {"model": straight.model.state_dict(), "optimizer": straight.optimizer.state_dict()}
            checkpoint.save(tmp_path / "checkpoint", state)
    # Another seed: whatever the checkpoint failed to bring back would differ.
    resumed = Training(tiny_dataset, tiny_config, seed=1)
    state = checkpoint.load(tmp_path / "checkpoint")
    resumed.model.load_state_dict(state["model"])
    resumed.optimizer.load_state_dict(state["optimizer"])
    found = resumed.epoch(2)
    after, other = straight.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in after.items())
    assert {k: v for k, v in found.items() if k not in TIMES} == {k: v for k, v in expected.items() if k not in TIMES}


def made_batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (count, 4, 64, 32, 3), generator=generator, dtype=torch.uint8)
    changes = torch.from_numpy(UNCHANGED).expand(4, -1)
    return [Batch(pixels, torch.tensor([0, 0, 1, 1]), torch.zeros(4, 4), changes) for pixels in noise]


def test_an_epoch_is_adam_on_equation_14_step_by_step(tiny_network: CUHS) -> None:
    """The loop against its meaning written out: rates of Adam, means of the losses, calls of the progress."""
    config = ReIDTraining(epochs=10, lr=1e-2, warmup_epochs=2, eta_1=0.5, eta_2=2.0, weight_decay=0)
    torch.manual_seed(0)
    model = Classified(tiny_network, 2)
    twin = copy.deepcopy(model).train()
    batches, progress = made_batches(2), []
    second = Epoch(1, 2, on_step=lambda *step: progress.append(step))
    metrics = train_epoch(model, batches, adam(model, config), config, second)
    # Fused as well: Adam makes large steps of the rounding of gradients near zero.
    by_hand = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], fused=True)
    losses = []
    for batch, rate in zip(batches, (1e-2 * (0.01 + 0.99 * 0.5), 1e-2 * (0.01 + 0.99 * 0.75)), strict=True):
        by_hand.param_groups[0]["lr"] = rate
        images, _ = batch.inputs(torch.device("cpu"))
        loss, _ = total_loss(*twin(images), batch.labels, metric_loss("triplet", 0.3), 0.5, 2.0)
        by_hand.zero_grad()
        loss.backward()
        by_hand.step()
        losses.append(loss.item())
    assert metrics["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert metrics["lr"] == pytest.approx(rate) and progress == [(1, 2), (2, 2)]
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_trains_with_float32_weights_and_finite_losses(tiny_network: CUHS) -> None:
    config = ReIDTraining(epochs=2, precision="bfloat16")
    model = Classified(tiny_network, 2)
    before = model.classifiers["bn"].weight.detach().clone()
    metrics = train_epoch(model, made_batches(1), adam(model, config), config, Epoch(0, 1))
    assert all(torch.tensor(value).isfinite() for value in metrics.values())
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert not torch.equal(before, model.classifiers["bn"].weight)
