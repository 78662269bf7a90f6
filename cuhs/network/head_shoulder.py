"""Head-shoulder segmentation layer (HSL): localises head and shoulders, and crops a feature map there."""

from typing import cast

import torch
from torch import Tensor, nn

UPPER_THIRD = (0.0, 0.0, 1.0, 1 / 3)


class HSL(nn.Module):
    """Localiser of the head-shoulder region (Eq. 7), with a trunk of its own.

    The trunk is its own copy of the backbone up to ``res_conv4_1``. It does not share the branch that the main
    training keeps changing, so the frozen localiser cannot drift (see docs/decisions.md). It predicts four
    parameters T_θ: scales s_x, s_y in (0, 1) by a sigmoid, and translations t_x, t_y in (-1, 1) by a tanh.

    Args:
        trunk: maps images (N, 3, H, W) to (N, width, H/16, W/16).
        width: channels of the trunk's output.
        grid: h×w cells that the trunk's output is pooled to before the fully connected layer; 1×1 is global
            average pooling, which loses all positions.
        reduced: channels that the trunk's output is reduced to before pooling.
    """

    def __init__(self, trunk: nn.Module, width: int, grid: tuple[int, int] = (8, 4), reduced: int = 32) -> None:
        super().__init__()
        self.trunk = trunk
        self.reduce = nn.Sequential(nn.Conv2d(width, reduced, 1, bias=False), nn.BatchNorm2d(reduced), nn.ReLU())
        self.grid = grid
        self.fc = nn.Linear(reduced * grid[0] * grid[1], 4)
        nn.init.normal_(self.fc.weight, std=1e-3)
        self.start_at(torch.tensor(UPPER_THIRD))

    def start_at(self, box: Tensor) -> None:
        """Initialise the prediction to ``box`` (4,), x1 y1 x2 y2 in [0, 1]."""
        theta = box_to_theta(box[None].float())[0].clamp(-0.98, 0.98)
        with torch.no_grad():
            self.fc.bias[:2] = torch.logit(theta[:2].clamp(min=0.02))
            self.fc.bias[2:] = torch.atanh(theta[2:])

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to T_θ (N, 4): s_x, s_y, t_x, t_y."""
        raw = self.fc(pooled(self.reduce(self.trunk(images)), self.grid).flatten(1)).float()
        return torch.cat([raw[:, :2].sigmoid(), raw[:, 2:].tanh()], dim=1)


class FrozenHSL(nn.Module):
    """A trained HSL inside the network: without gradient, and with fixed statistics even in training."""

    def __init__(self, hsl: HSL) -> None:
        super().__init__()
        self.hsl = hsl.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenHSL":
        """Stay in evaluation mode: changing running statistics would move the boxes."""
        super().train(mode)
        self.hsl.eval()
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to T_θ (N, 4)."""
        return cast(Tensor, self.hsl(images))


def theta_to_box(theta: Tensor) -> Tensor:
    """r(·) of Eq. 15: map T_θ (N, 4) to corners x1 y1 x2 y2 (N, 4) in [0, 1], not clipped to the image."""
    scale, translation = theta[:, :2], theta[:, 2:]
    return (torch.cat([translation - scale, translation + scale], dim=1) + 1) / 2


def box_to_theta(box: Tensor) -> Tensor:
    """Invert :func:`theta_to_box`: (N, 4) to (N, 4)."""
    low, high = box[:, :2] * 2 - 1, box[:, 2:] * 2 - 1
    return torch.cat([(high - low) / 2, (high + low) / 2], dim=1)


def crop(features: Tensor, theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample the region T_θ of a feature map bilinearly (Eq. 7).

    Args:
        features: F_3, (N, C, H, W).
        theta: (N, 4), s_x, s_y, t_x, t_y.
        size: h×w of the crop, in cells.

    Returns:
        F'_3, (N, C, h, w); zero outside the map.
    """
    s_x, s_y, t_x, t_y = theta.to(torch.promote_types(theta.dtype, torch.float32)).unbind(1)
    return _resampled(
        features, _bilinear(s_y, t_y, size[0], features.shape[2]), _bilinear(s_x, t_x, size[1], features.shape[3])
    )


def pooled(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average a map (N, C, H, W) over h×w areas, as :func:`torch.nn.functional.adaptive_avg_pool2d` does."""
    rows, columns = (
        _areas(cells, of, features.device)[None] for cells, of in zip(grid, features.shape[2:], strict=True)
    )
    return _resampled(features, rows, columns)


def _bilinear(scale: Tensor, translation: Tensor, cells: int, of: int) -> Tensor:
    """Weights (N, cells, of) of a map's ``of`` rows or columns in each cell of the crop: 1 at a centre, 0 one off."""
    centres = (2 * torch.arange(cells, device=scale.device, dtype=scale.dtype) + 1) / cells - 1
    places = ((scale[:, None] * centres + translation[:, None] + 1) * of - 1) / 2
    return (1 - (places[:, :, None] - torch.arange(of, device=scale.device)).abs()).clamp(min=0)


def _areas(cells: int, of: int, device: torch.device) -> Tensor:
    """Weights (cells, of) that average ``of`` rows or columns over areas; these overlap unless they divide."""
    cell, place = torch.arange(cells, device=device)[:, None], torch.arange(of, device=device)
    inside = (place >= cell * of // cells) & (place < ((cell + 1) * of + cells - 1) // cells)
    return inside / inside.sum(1, keepdim=True)


def _resampled(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weighted sums of a map's cells, as one matrix product.

    A GPU adds the gradient of a matrix product in the same order each time, unlike that of PyTorch's ``grid_sample``
    and ``adaptive_avg_pool2d``. On CPUs it takes about half as long.

    Args:
        features: (N, C, H, W).
        rows: (N or 1, h, H), the weights of the map's rows in each row of the result.
        columns: (N or 1, w, W), the same of columns.

    Returns:
        (N, C, h, w), of the features' dtype and channels-last.
    """
    # In float32 under any autocast: places in bfloat16 are off by up to half a cell of a large map.
    with torch.autocast(features.device.type, enabled=False):
        precise = features.to(torch.promote_types(features.dtype, torch.float32))
        # `shape`, not `len`, which an export would take for a constant.
        (n, c, height, width), h, w = features.shape, rows.shape[1], columns.shape[1]
        weights = (rows[:, :, None, :, None] * columns[:, None, :, None, :]).reshape(-1, h * w, height * width)
        cells = precise.permute(0, 2, 3, 1).reshape(n, height * width, c)
        found = torch.matmul(weights.to(precise.dtype), cells)
    return found.view(n, h, w, c).permute(0, 3, 1, 2).to(features.dtype)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection over union (N,) of boxes (N, 4) and (N, 4), clipped to the image."""
    a, b = a.clamp(0, 1), b.clamp(0, 1)
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    overlap = sides.prod(1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return overlap / (area_a + area_b - overlap).clamp(min=1e-12)
