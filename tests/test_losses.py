"""Eq. 12 to 15 and the metric losses of Table 9, each against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from cuhs.losses import (
    batch_hard_triplet,
    euclidean,
    hsl_loss,
    instance_loss,
    metric_loss,
    total_loss,
)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    """Eq. 12 as a mean; smoothing moves a share of the target evenly to all classes."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        log_sum = np.log(sum(np.exp(value) for value in row))
        for k, value in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / len(row)
            total -= target * (value - log_sum)
    return total / len(labels)


def triplet(features: np.ndarray, labels: np.ndarray, margin: float) -> float:
    """Eq. 13 by a loop over anchors, positives and negatives, as a mean over anchors that have both."""
    losses = []
    for a in range(len(labels)):
        furthest, nearest = None, None
        for other in range(len(labels)):
            distance = np.sqrt(((features[a] - features[other]).astype(np.float64) ** 2).sum())
            if labels[other] != labels[a]:
                nearest = distance if nearest is None else min(nearest, distance)
            elif other != a:
                furthest = distance if furthest is None else max(furthest, distance)
        if furthest is not None and nearest is not None:
            losses.append(max(0.0, margin + furthest - nearest))
    return float(np.mean(losses)) if losses else 0.0


def made(seed: int, n: int = 12, identities: int = 4, c: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, c)).astype(np.float32), rng.integers(0, identities, n)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 14),
    identities=st.integers(1, 6),
    margin=st.sampled_from([0.0, 0.3, 1.5]),
)
def test_batch_hard_triplet_is_equation_13(seed: int, n: int, identities: int, margin: float) -> None:
    features, labels = made(seed, n, identities)
    found = batch_hard_triplet(torch.tensor(features), torch.tensor(labels), margin)
    assert found.item() == pytest.approx(triplet(features, labels, margin), rel=1e-4, abs=1e-5)


def test_triplet_by_hand() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
    # Anchors 0 and 1: positive at 1, negatives at 3 and 2; anchors 2 and 3: positive at 2, negatives at 2 and 4.
    expected = (max(0, 0.3 + 1 - 3) + max(0, 0.3 + 1 - 2) + (0.3 + 2 - 2) + max(0, 0.3 + 2 - 4)) / 4
    found = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3)
    assert found.item() == pytest.approx(expected) == pytest.approx(0.075)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_a_batch_without_a_triplet_costs_nothing_and_can_be_differentiated(labels: list[int]) -> None:
    features = torch.rand(3, 4, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0 and torch.equal(features.grad, torch.zeros(3, 4))


def test_an_image_that_is_alone_in_its_identity_is_a_negative_but_no_anchor() -> None:
    features = torch.tensor([[0.0], [1.0], [0.5]])
    found = batch_hard_triplet(features, torch.tensor([0, 0, 1]), 0.0)
    assert found.item() == pytest.approx(0.5)  # anchors 0 and 1: 1 - 0.5 each


def test_equal_features_have_no_gradient_instead_of_nan() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(0.3) and torch.equal(features.grad, torch.zeros(4, 3))


def test_distances_of_all_pairs() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    expected = [[np.sqrt(sum((a[k] - b[k]) ** 2 for k in range(4))) for b in x] for a in x]
    np.testing.assert_allclose(euclidean(torch.tensor(x)), expected, atol=1e-5)


def test_the_triplets_gradient_is_its_slope() -> None:
    features, labels = made(3, n=8, identities=3)
    x = torch.tensor(features, requires_grad=True)
    batch_hard_triplet(x, torch.tensor(labels), 1.0).backward()
    for i, j in ((0, 0), (3, 2), (7, 4)):
        moved = np.repeat(features[None].astype(np.float64), 2, axis=0)
        moved[:, i, j] += (1e-4, -1e-4)
        slope = (triplet(moved[0], labels, 1.0) - triplet(moved[1], labels, 1.0)) / 2e-4
        assert x.grad[i, j].item() == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_the_instance_loss_makes_each_image_a_class_whose_identity_shares_the_target() -> None:
    features, labels = made(5, n=6, identities=3)
    unit = features / np.sqrt((features.astype(np.float64) ** 2).sum(1, keepdims=True))
    total = 0.0
    for a in range(6):
        scores = [10.0 * sum(unit[a] * unit[b]) for b in range(6)]
        log_sum = np.log(sum(np.exp(s) for s in scores))
        own = [b for b in range(6) if labels[b] == labels[a]]
        total -= sum((scores[b] - log_sum) / len(own) for b in own)
    found = instance_loss(torch.tensor(features), torch.tensor(labels), scale=10.0)
    assert found.item() == pytest.approx(total / 6, rel=1e-4)


@pytest.mark.parametrize("name", ["triplet", "lifted", "contrastive", "circle", "instance"])
def test_each_metric_loss_pulls_identities_together(name: str) -> None:
    torch.manual_seed(0)
    labels = torch.arange(12) % 3
    x = torch.randn(12, 6, requires_grad=True)
    loss = metric_loss(name, margin=0.3)
    optimizer = torch.optim.Adam([x], lr=0.1)
    first = loss(x, labels)
    assert first.ndim == 0 and first.item() > 0
    for _ in range(60):
        optimizer.zero_grad()
        loss(x, labels).backward()
        optimizer.step()
    similar = normalize(x.detach()) @ normalize(x.detach()).T
    same = labels[:, None] == labels
    assert loss(x, labels) < 0.5 * first
    assert similar[same].mean() > similar[~same].mean() + 0.5


def test_the_margin_is_the_triplets() -> None:
    features, labels = made(1)
    found = metric_loss("triplet", margin=0.9)(torch.tensor(features), torch.tensor(labels))
    assert found.item() == pytest.approx(triplet(features, labels, 0.9), rel=1e-4)


def test_hsl_loss_is_equation_15_on_corners() -> None:
    theta = np.array([[0.5, 0.2, 0.1, -0.6], [0.9, 0.4, -0.1, 0.0]])
    boxes = np.array([[0.2, 0.0, 0.8, 0.3], [0.0, 0.1, 1.0, 0.9]])
    total = 0.0
    for (s_x, s_y, t_x, t_y), truth in zip(theta, boxes, strict=True):
        corners = [(t_x - s_x + 1) / 2, (t_y - s_y + 1) / 2, (t_x + s_x + 1) / 2, (t_y + s_y + 1) / 2]
        total += sum((p - c) ** 2 for p, c in zip(corners, truth, strict=True))
    found = hsl_loss(torch.tensor(theta), torch.tensor(boxes))
    assert found.item() == pytest.approx(total / 2, rel=1e-6)


@pytest.mark.parametrize(("eta_1", "eta_2", "smoothing"), [(1, 1, 0), (0.5, 2, 0), (1, 0, 0.1), (0, 1, 0)])
def test_the_total_is_equation_14_summed_over_branches(eta_1: float, eta_2: float, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 1, 2, 2])
    features = {name: rng.normal(size=(6, 4)).astype(np.float32) for name in ("bn", "in1")}
    logits = {name: rng.normal(size=(6, 3)).astype(np.float32) for name in features}
    ce = {name: cross_entropy(logits[name], labels, smoothing) for name in features}
    tri = {name: triplet(features[name], labels, 0.3) for name in features}
    loss, terms = total_loss(
        {name: torch.tensor(f) for name, f in features.items()},
        {name: torch.tensor(z) for name, z in logits.items()},
        torch.tensor(labels),
        metric_loss("triplet", 0.3),
        eta_1,
        eta_2,
        smoothing,
    )
    expected = sum(eta_1 * ce[name] + eta_2 * tri[name] for name in features)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    named = {f"cross_entropy/{n}": ce[n] for n in ce} | {f"metric/{n}": tri[n] for n in tri}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(named, rel=1e-4)
    assert not any(value.requires_grad for value in terms.values())


def test_each_loss_trains_its_own_feature() -> None:
    torch.manual_seed(0)
    features = {"bn": torch.randn(4, 3, requires_grad=True)}
    logits = {"bn": torch.randn(4, 2, requires_grad=True)}
    labels = torch.tensor([0, 0, 1, 1])
    loss, _ = total_loss(features, logits, labels, metric_loss("triplet", 5.0), 1.0, 1.0)
    loss.backward()
    softmax = logits["bn"].detach().exp() / logits["bn"].detach().exp().sum(1, keepdim=True)
    target = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    torch.testing.assert_close(logits["bn"].grad, (softmax - target) / 4)
    assert features["bn"].grad.abs().sum() > 0


def test_distances_are_exact_at_large_norms_and_have_no_gradient_at_zero() -> None:
    features = torch.full((3, 256), 1000.0 / 16)
    features[1, 0] += 0.56
    features.requires_grad_()
    distances = euclidean(features)
    assert distances[0, 1].item() == pytest.approx(0.56, rel=1e-3)
    assert distances[0, 2].item() == 0.0
    distances.sum().backward()
    assert features.grad.isfinite().all()
    assert features.grad[0, 1:].abs().max() == 0
