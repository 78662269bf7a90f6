"""Eq. 5 and 6 (exploration), Eq. 8 to 11 (HAN)."""

import numpy as np
import pytest
import torch

from cuhs.network.attention import HAN, exploration_mask


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("top_k", [0, 1, 5, 11])
def test_the_mask_is_zero_at_the_largest_channel_sums_and_one_elsewhere(top_k: int) -> None:
    first = np.random.default_rng(top_k).normal(size=(3, 7, 4, 3))
    expected = np.ones((3, 1, 4, 3))
    for n in range(3):
        sums = {(i, j): sum(first[n, c, i, j] for c in range(7)) for i in range(4) for j in range(3)}
        for i, j in sorted(sums, key=sums.get, reverse=True)[:top_k]:
            expected[n, 0, i, j] = 0
    mask = exploration_mask(torch.tensor(first), top_k)
    np.testing.assert_array_equal(mask, expected)
    assert (mask == 0).sum(dim=(1, 2, 3)).tolist() == [top_k] * 3


def test_equal_sums_still_hide_exactly_top_k() -> None:
    assert (exploration_mask(torch.zeros(2, 3, 4, 4), 5) == 0).sum().item() == 10


def test_sums_that_bfloat16_cannot_tell_apart_are_told_apart() -> None:
    first = torch.ones(1, 1001, 1, 4, dtype=torch.bfloat16)
    first[0, 0, 0, [0, 1, 3]] = 0  # sums of 1000 but for one of 1001
    mask = exploration_mask(first, 1)
    assert mask.dtype == torch.bfloat16 and mask.flatten().tolist() == [1, 1, 0, 1]


def test_no_gradient_passes_the_mask() -> None:
    first = torch.rand(2, 3, 4, 4, requires_grad=True)
    second = torch.rand(2, 3, 4, 4, requires_grad=True)
    mask = exploration_mask(first, 5)
    assert not mask.requires_grad
    (second * mask).sum().backward()
    assert first.grad is None
    assert torch.equal(second.grad, mask.expand(2, 3, 4, 4))


@pytest.mark.parametrize("top_k", [12, 13])
def test_hiding_the_whole_map_is_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k = {top_k} .* at most 11"):
        exploration_mask(torch.rand(1, 2, 4, 3), top_k)


def test_han_is_equations_8_to_11() -> None:
    torch.manual_seed(0)
    han = HAN(6, reduction=3)
    assert han.reduce.weight.shape == (2, 6) and han.increase.weight.shape == (6, 2)
    f_r, f_i = han.reduce.weight.detach().double().numpy(), han.increase.weight.detach().double().numpy()
    x = np.random.default_rng(1).normal(size=(2, 6, 3, 4))
    expected = np.empty_like(x)
    for n in range(2):
        gap = np.array([x[n, c].mean() for c in range(6)])
        d = sigmoid(f_i @ np.maximum(f_r @ gap, 0))
        f_c = np.array([x[n, c] + x[n, c] * d[c] for c in range(6)])
        s = np.empty((3, 4))
        for i in range(3):
            for j in range(4):
                s[i, j] = sigmoid(sum(f_c[c, i, j] for c in range(6)))
        expected[n] = f_c * s
    found = han(torch.tensor(x, dtype=torch.float32)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_han_learns_through_both_attentions() -> None:
    torch.manual_seed(0)
    han = HAN(8)
    x = torch.rand(2, 8, 3, 3, requires_grad=True)
    han(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in han.parameters()) and x.grad.abs().sum() > 0


def test_the_spatial_attention_acts_with_the_mean_and_is_one_everywhere_with_the_paper_s_sum() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 512, 4, 4).relu()
    letter, acting = HAN(512), HAN(512, spatial="mean")
    acting.load_state_dict(letter.state_dict())
    with torch.no_grad():
        enhanced = x + x * letter.increase(letter.reduce(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        torch.testing.assert_close(letter(x), enhanced)
        gate = enhanced.mean(1, keepdim=True).sigmoid()
        torch.testing.assert_close(acting(x), enhanced * gate)
    assert 0.5 < gate.min() < gate.max() < 0.9
