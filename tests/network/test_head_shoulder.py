"""Eq. 7, the boxes of Eq. 15, and a frozen localiser that stays frozen."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import make_hsl
from cuhs.network.head_shoulder import HSL, FrozenHSL, box_to_theta, crop, iou, pooled, theta_to_box

IDENTITY = torch.tensor([[1.0, 1.0, 0.0, 0.0]])


def ramp(n: int = 1, c: int = 2, h: int = 6, w: int = 4) -> torch.Tensor:
    return torch.arange(n * c * h * w, dtype=torch.float32).view(n, c, h, w) + 1


def test_the_identity_reproduces_the_map() -> None:
    torch.testing.assert_close(crop(ramp(), IDENTITY, (6, 4)), ramp())


@pytest.mark.parametrize(("y", "x", "h", "w"), [(0, 0, 2, 4), (1, 1, 3, 2), (4, 2, 2, 2), (5, 3, 1, 1)])
def test_a_box_on_cell_borders_is_a_slice(y: int, x: int, h: int, w: int) -> None:
    # In [-1, 1] the box is its half size and its centre: T_θ written out by hand, not with box_to_theta.
    theta = torch.tensor([[w / 4, h / 6, (2 * x + w) / 4 - 1, (2 * y + h) / 6 - 1]])
    torch.testing.assert_close(crop(ramp(), theta, (h, w)), ramp()[:, :, y : y + h, x : x + w], rtol=1e-4, atol=1e-4)


def test_any_box_is_sampled_bilinearly_and_zero_outside() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 2, 5, 4))
    theta = np.array([[0.7, 0.4, 0.1, -0.5], [0.9, 0.9, 0.8, 0.8], [0.3, 0.6, -0.9, -0.9]])
    height, width = 3, 2
    expected = np.zeros((3, 2, height, width))
    for n, (s_x, s_y, t_x, t_y) in enumerate(theta):
        for i in range(height):
            for j in range(width):
                x_s = s_x * ((2 * j + 1) / width - 1) + t_x
                y_s = s_y * ((2 * i + 1) / height - 1) + t_y
                column, line = ((x_s + 1) * 4 - 1) / 2, ((y_s + 1) * 5 - 1) / 2
                for a in (int(np.floor(line)), int(np.floor(line)) + 1):
                    for b in (int(np.floor(column)), int(np.floor(column)) + 1):
                        if 0 <= a < 5 and 0 <= b < 4:
                            share = (1 - abs(line - a)) * (1 - abs(column - b))
                            expected[n, :, i, j] += share * features[n, :, a, b]
    found = crop(torch.tensor(features), torch.tensor(theta), (height, width))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_box_beside_the_map_is_zero() -> None:
    assert torch.equal(crop(ramp(), torch.tensor([[0.2, 0.2, 3.0, 0.0]]), (2, 2)), torch.zeros(1, 2, 2, 2))


def test_under_bfloat16_the_place_is_that_of_float32() -> None:
    features = torch.rand(1, 3, 24, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    theta = torch.tensor([[0.613, 0.217, 0.0437, -0.6231]])
    with torch.autocast("cpu", torch.bfloat16):
        found = crop(features, theta, (8, 8))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, crop(features.float(), theta, (8, 8)).bfloat16())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values_and_gradients_are_those_of_grid_sample(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    features = torch.randn(16, 5, 24, 8, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    # Some of these boxes reach beyond the map, on each side.
    theta = torch.cat([torch.rand(16, 2) * 0.9 + 0.1, torch.randn(16, 2) * 0.7], dim=1).to(dtype).requires_grad_()
    s_x, s_y, t_x, t_y = theta.unbind(1)
    zero = torch.zeros_like(s_x)
    matrix = torch.stack([torch.stack([s_x, zero, t_x], 1), torch.stack([zero, s_y, t_y], 1)], 1)
    grid = F.affine_grid(matrix, [16, 5, 8, 7], align_corners=False)
    expected = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    found = crop(features, theta, (8, 7))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert (expected == 0).any() and found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, (features, theta), weights),
        torch.autograd.grad(expected, (features, theta), weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=tolerance * 10, atol=tolerance * 10)


@pytest.mark.parametrize("of", [(24, 8), (5, 3), (10, 4), (1, 1), (9, 5)])
def test_areas_are_those_of_adaptive_pooling(of: tuple[int, int]) -> None:
    features = torch.randn(3, 4, *of, dtype=torch.float64, requires_grad=True)
    found, expected = pooled(features, (8, 4)), F.adaptive_avg_pool2d(features, (8, 4))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    weights = torch.randn_like(expected)
    (a,), (b,) = torch.autograd.grad(found, features, weights), torch.autograd.grad(expected, features, weights)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_each_image_has_its_own_box() -> None:
    features = ramp(n=2)
    theta = torch.tensor([[1.0, 1 / 3, 0.0, -2 / 3], [1.0, 1 / 3, 0.0, 2 / 3]])
    found = crop(features, theta, (2, 4))
    torch.testing.assert_close(found[0], features[0, :, :2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], features[1, :, 4:], rtol=1e-4, atol=1e-4)


def test_corners_of_theta_by_hand() -> None:
    theta = torch.tensor([[1.0, 1 / 3, 0.0, -2 / 3], [0.5, 0.25, 0.5, 0.0]])
    expected = torch.tensor([[0.0, 0.0, 1.0, 1 / 3], [0.5, 0.375, 1.0, 0.625]])
    torch.testing.assert_close(theta_to_box(theta), expected)
    torch.testing.assert_close(box_to_theta(expected), theta)


unit = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=50)
@given(st.tuples(unit, unit, unit, unit))
def test_boxes_survive_the_round_trip(corners: tuple[float, float, float, float]) -> None:
    a, b, c, d = corners
    box = torch.tensor([[min(a, c), min(b, d), max(a, c), max(b, d)]])
    torch.testing.assert_close(theta_to_box(box_to_theta(box)), box, rtol=0, atol=1e-6)


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2], [0.0, -1.0, 0.5, 0.5]])
    b = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.25, 0.0, 0.75, 0.5], [0.3, 0.3, 0.4, 0.4], [0.0, 0.0, 0.5, 1.0]])
    # Whole; half of each, so a third of both; apart; the first clipped to a half of the second.
    torch.testing.assert_close(iou(a, b), torch.tensor([1.0, 1 / 3, 0.0, 0.5]))
    assert iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0.0


# The localiser


@pytest.fixture
def hsl(tiny_config: NetworkConfig) -> HSL:
    torch.manual_seed(0)
    return make_hsl(tiny_config)


def test_the_localiser_starts_at_the_box_it_is_told(hsl: HSL) -> None:
    with torch.no_grad():
        first = theta_to_box(hsl.eval()(torch.rand(2, 3, 64, 32)))
        # s_x = 1 is out of a sigmoid's reach: the box starts a hundredth inside the image.
        torch.testing.assert_close(first, torch.tensor([[0.01, 0, 0.99, 1 / 3]]).expand(2, 4), rtol=0, atol=5e-3)
        hsl.start_at(torch.tensor([0.2, 0.05, 0.8, 0.35]))
        torch.testing.assert_close(
            theta_to_box(hsl(torch.rand(1, 3, 64, 32))), torch.tensor([[0.2, 0.05, 0.8, 0.35]]), rtol=0, atol=5e-3
        )


def test_the_localisers_answer_stays_in_range(hsl: HSL) -> None:
    nn.init.normal_(hsl.fc.weight, std=100)
    theta = hsl(torch.randn(4, 3, 64, 32))
    assert theta.shape == (4, 4)
    assert (theta[:, :2] >= 0).all() and (theta[:, :2] <= 1).all() and (theta[:, 2:].abs() <= 1).all()


def test_the_localiser_sees_where_things_are(hsl: HSL) -> None:
    nn.init.normal_(hsl.fc.weight)
    image = torch.zeros(1, 3, 64, 32)
    image[:, :, :16] = 3
    with torch.no_grad():
        hsl.train()
        assert not torch.allclose(hsl(image), hsl(image.flip(2)), atol=1e-3)


def test_a_frozen_localiser_stays_in_evaluation_mode_without_gradient(hsl: HSL) -> None:
    frozen = FrozenHSL(hsl.train())
    outer = nn.Sequential(frozen).train()
    assert outer.training and not any(m.training for m in hsl.modules())
    before = {key: value.clone() for key, value in hsl.state_dict().items()}
    theta = outer(torch.randn(4, 3, 64, 32))
    assert not theta.requires_grad and not any(p.requires_grad for p in outer.parameters())
    assert all(torch.equal(before[key], value) for key, value in hsl.state_dict().items())
