"""Instance normalisation, and the conversion of BN blocks to IN blocks."""

from typing import Any

import torch
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Affine instance normalisation (Eq. 3 and 4).

    The result equals that of :class:`torch.nn.InstanceNorm2d`. On maps of a few dozen cells PyTorch's kernels
    spend their time on strides. Matrix products over the channels-last layout take less than half as long on
    CPUs (``benchmarks/instance_norm.py``).

    Args:
        channels: C.
        eps: value added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); same shape and dtype, in the channels-last layout."""
        result: Tensor = _Normalise.apply(x, self.weight, self.bias, self.eps)
        return result


class _Normalise(torch.autograd.Function):
    """Normalisation with float32 statistics under any autocast; its own backward saves five passes over the map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            centred = x.float() - _mean(x.float())
            scale = (_mean(centred * centred) + eps).rsqrt()
            normalised = torch.addcmul(bias[:, None, None], centred, scale * weight[:, None, None])
        ctx.save_for_backward(centred, scale, weight)
        return normalised.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, scale, weight = ctx.saved_tensors
        with torch.autocast(grads[0].device.type, enabled=False):
            grad = grads[0].float()
            mean = _mean(grad)
            # Mean over the cells of the gradient times the normalised value.
            along = _mean(grad * centred) * scale
            gain = scale * weight[:, None, None]
            # γ/σ · (g - mean(g) - x̂ · mean(g x̂))
            to_input = torch.addcmul(torch.addcmul(-gain * mean, centred, -gain * along * scale), grad, gain)
            cells = grad.shape[2] * grad.shape[3]
            to_weight, to_bias = along.sum((0, 2, 3)) * cells, mean.sum((0, 2, 3)) * cells
        return to_input.to(grads[0].dtype), to_weight, to_bias, None


def _mean(x: Tensor) -> Tensor:
    """Mean over the cells, (N, C, H, W) to (N, C, 1, 1); a matrix product is the fastest sum in channels-last."""
    n, c, h, w = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
    return torch.bmm(x.new_full((n, 1, h * w), 1 / (h * w)), cells).view(n, c, 1, 1)


def with_instance_norm(block: nn.Module) -> nn.Module:
    """Replace each BN layer of ``block`` by an affine IN layer (Eq. 3 and 4), in place.

    γ and β keep the BN layer's values, so that ImageNet weights remain useful.
    """
    for name, child in block.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = InstanceNorm(child.num_features, eps=child.eps)
            norm.load_state_dict({"weight": child.weight, "bias": child.bias})
            setattr(block, name, norm)
        else:
            with_instance_norm(child)
    return block
