"""Features of a split, in its order, whatever the batch."""

from pathlib import Path

import pytest
import torch

from cuhs.data.augment import Augmentation
from cuhs.data.dataset import PersonImages, collate
from cuhs.network.cuhs import CUHS
from cuhs.retrieval import embed

CPU = torch.device("cpu")


@pytest.fixture
def images(tiny_dataset: Path) -> PersonImages:
    return PersonImages(tiny_dataset, "train", 64, 32, Augmentation(erasing=1.0))


def test_features_come_in_the_splits_order_and_without_augmentation(tiny_network: CUHS, images: PersonImages) -> None:
    features = embed(tiny_network, images, batch=5, device=CPU)
    with torch.no_grad():
        inputs = [collate([images[i]]).inputs(CPU)[0] for i in range(len(images))]
        one_by_one = torch.cat([tiny_network.eval().embed(each) for each in inputs])
    assert features.shape == (24, 32) and features.dtype == torch.float32
    torch.testing.assert_close(features, one_by_one, rtol=1e-3, atol=1e-4)
    # Different images have different features: the agreement above is not that of constants.
    assert (features[:20:4] - features[4:24:4]).norm(dim=1).min() > 1e-2


def test_a_model_in_training_is_put_into_evaluation(tiny_network: CUHS, images: PersonImages) -> None:
    before = {key: value.clone() for key, value in tiny_network.state_dict().items()}
    embed(tiny_network.train(), images, batch=24, device=CPU)
    assert not tiny_network.training
    assert all(torch.equal(value, before[key]) for key, value in tiny_network.state_dict().items())


def test_progress_counts_images(tiny_network: CUHS, tiny_dataset: Path) -> None:
    done: list[int] = []
    images = PersonImages(tiny_dataset, "train", 64, 32)
    embed(tiny_network, images, batch=10, device=CPU, on_batch=done.append)
    assert done == [10, 20, 24]


def test_an_image_is_nearest_to_its_own_identity(tiny_network: CUHS, images: PersonImages) -> None:
    """Even random features tell flat colours apart: labels, images and rows of features belong together."""
    features = embed(tiny_network, images, batch=24, device=CPU)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    nearest = images.labels[distances.argmin(1).numpy()]
    assert (nearest == images.labels).mean() > 0.8


def test_a_network_can_be_trained_after_it_has_embedded(tiny_dataset: Path, tiny_network: CUHS) -> None:
    images = PersonImages(tiny_dataset, "query", 64, 32)
    embed(tiny_network, images, batch=2, device=CPU)
    features = tiny_network(torch.randn(2, 3, 64, 32))
    sum(feature.sum() for feature in features.values()).backward()
    assert any(p.grad is not None for p in tiny_network.parameters())
