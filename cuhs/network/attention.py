"""The two attentions: exploration of the second IN branch, and the head-shoulder attention network (HAN)."""

from typing import Literal

import torch
from torch import Tensor, nn


def exploration_mask(first: Tensor, top_k: int) -> Tensor:
    """Mask A' that hides the ``top_k`` spatial peaks of the first IN branch (Eq. 5).

    Args:
        first: F_1, (N, C, H, W).
        top_k: number of the H·W positions to set to zero; the others are one.

    Returns:
        (N, 1, H, W), of F_1's dtype, without gradient: the mask only directs the second branch.

    Raises:
        ValueError: ``top_k`` hides every position.
    """
    n, _, h, w = first.shape
    if top_k >= h * w:
        raise ValueError(f"top_k = {top_k} hides the whole {h}×{w} feature map; choose at most {h * w - 1}")
    # Summed in float32: in bfloat16 neighbours among the sums would be equal.
    attention = first.detach().sum(dim=1, dtype=torch.promote_types(first.dtype, torch.float32)).flatten(1)
    peaks = attention.topk(top_k, dim=1).indices
    return torch.ones_like(attention, dtype=first.dtype).scatter(1, peaks, 0.0).view(n, 1, h, w)


class HAN(nn.Module):
    """Head-shoulder attention network: channel attention, then spatial attention (Eq. 8 to 11).

    Args:
        channels: C.
        reduction: r; the bottleneck of the channel attention has C/r channels.
        spatial: how Eq. 11 takes channels together. Its ``sum`` is so large behind a ReLU that the sigmoid is 1.0 in
            every cell; with ``mean`` the attention acts.
    """

    def __init__(self, channels: int, reduction: int = 2, spatial: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        self.spatial = spatial
        self.reduce = nn.Linear(channels, channels // reduction, bias=False)
        self.increase = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map F'_3 (N, C, h, w) to f'_h (N, C, h, w)."""
        gate = self.increase(self.reduce(x.mean(dim=(2, 3))).relu()).sigmoid()
        enhanced = x + x * gate[:, :, None, None]
        total = enhanced.sum(dim=1, keepdim=True) if self.spatial == "sum" else enhanced.mean(dim=1, keepdim=True)
        return enhanced * total.sigmoid()
