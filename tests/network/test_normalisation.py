"""Instance normalisation against Eq. 3 and 4 and against PyTorch's own layer."""

import numpy as np
import pytest
import torch
from torch import nn

from cuhs.network.normalisation import InstanceNorm, with_instance_norm


def test_instance_norm_is_equation_3_over_each_sample_and_channel() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 5, (2, 4, 5, 3)).astype(np.float32)
    gamma, beta = rng.normal(size=4).astype(np.float32), rng.normal(size=4).astype(np.float32)
    bn = nn.BatchNorm2d(4, eps=1e-3)
    bn.load_state_dict({**bn.state_dict(), "weight": torch.tensor(gamma), "bias": torch.tensor(beta)})
    norm = with_instance_norm(nn.Sequential(bn))
    expected = np.empty_like(x)
    for n in range(2):
        for c in range(4):
            mu, sigma = x[n, c].mean(), np.sqrt(((x[n, c] - x[n, c].mean()) ** 2).mean())
            expected[n, c] = gamma[c] * (x[n, c] - mu) / np.sqrt(sigma**2 + 1e-3) + beta[c]
    np.testing.assert_allclose(norm(torch.tensor(x)).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_pytorchs_layer(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(6), nn.InstanceNorm2d(6, affine=True)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    # A mean far from zero: where squares cancel, statistics of x² - mean² would be off.
    x = (torch.randn(3, 6, 5, 4) + 100).contiguous(memory_format=layout)
    weights = torch.randn(3, 6, 5, 4)
    results = []
    for norm in (ours, theirs):
        image = x.clone().requires_grad_()
        value = norm(image * 1).relu_()  # in place, as in the blocks
        (value * weights).sum().backward()
        results.append((value, image.grad, norm.weight.grad, norm.bias.grad))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_constant_map_becomes_the_shift() -> None:
    norm = InstanceNorm(2)
    nn.init.constant_(norm.bias, 0.5)
    assert torch.equal(norm(torch.full((1, 2, 4, 4), 7.0)), torch.full((1, 2, 4, 4), 0.5))


def test_statistics_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(8)
    x = (torch.randn(2, 8, 6, 4) + 50).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    exact = nn.functional.instance_norm(x.float())
    torch.testing.assert_close(y.float(), exact, rtol=1e-2, atol=1e-2)


def test_it_exports_without_gradients() -> None:
    norm = InstanceNorm(4).eval()
    x = torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        program = torch.export.export(norm, (x,))
    torch.testing.assert_close(program.module()(x), norm(x))
