"""Pooling of a feature map (N, C, H, W) to a vector (N, C)."""

import torch
from torch import Tensor, nn


class GAP(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C)."""
        return x.mean(dim=(2, 3))


class GMP(nn.Module):
    """Global max pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C)."""
        return x.amax(dim=(2, 3))


class GeM(nn.Module):
    """Generalised mean pooling (Eq. 16) with a learnable exponent θ.

    Eq. 16 writes a sum. This takes the mean: only then is θ = 1 average pooling, as the paper's text says, and
    θ → ∞ maximum pooling. θ counts as within :data:`BOUNDS`: below, it would weigh the weakest cells most;
    above, it is maximum pooling.
    """

    BOUNDS = 1.0, 300.0

    def __init__(self, theta: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C); values below ``eps`` count as ``eps``."""
        # Use at least float32 under any autocast: in float16 the cube of 41 overflows.
        x = x.to(torch.promote_types(x.dtype, torch.float32)).clamp(min=self.eps)
        theta = self.theta.clamp(*self.BOUNDS)
        # Divided by the largest first, so that no power overflows.
        largest = x.detach().amax(dim=(2, 3), keepdim=True)
        return (x / largest).pow(theta).mean(dim=(2, 3)).pow(1 / theta) * largest[:, :, 0, 0]


def pooling(name: str) -> nn.Module:
    """Return a pooling by name: ``gap``, ``gmp`` or ``gem``."""
    return {"gap": GAP, "gmp": GMP, "gem": GeM}[name]()
