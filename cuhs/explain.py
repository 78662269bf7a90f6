"""What a network looks at in an image: an attention map of each branch, and the cells that exploration hides."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cuhs.network.attention import exploration_mask
from cuhs.network.cuhs import CUHS
from cuhs.network.streams import Instance


def attention_maps(model: CUHS, images: Tensor) -> dict[str, Tensor]:
    """Map how much each cell adds to each branch's feature, along the feature's own direction (Fig. 7).

    The map is gradient times activation, summed over the channels, of the feature's projection on its own direction.
    What a neck adds to the whole feature is shared out evenly over the cells, so that the map adds up to the
    feature's length: without that, a feature that is long for what it lacks would have no positive cell. Negative
    values are set to zero. It is a class-activation map (Zhou et al., CVPR 2016) with the feature in the place of a
    class: each cell's exact contribution for average pooling with a linear reduction, and a first-order approximation
    for other poolings (Grad-CAM, Selvaraju et al., ICCV 2017).

    Args:
        model: the network; put into evaluation mode.
        images: (N, 3, H, W), normalised.

    Returns:
        {branch: (N, h, w)} float32, non-negative, on the CPU.
    """
    model.eval()
    with torch.enable_grad():
        features, maps = model.features_and_maps(images)
        heats = {}
        for name, feature in model.classified(features).items():
            along = (feature * F.normalize(feature.detach(), dim=1)).sum(1)
            # Each branch by itself: stripes share one map.
            gradient = torch.autograd.grad(along.sum(), maps[name], retain_graph=True)[0]
            heat, pooled = (maps[name] * gradient).sum(1), (gradient != 0).any(1)
            rest = (along - heat.sum((1, 2))) / pooled.sum((1, 2)).clamp(min=1)
            heats[name] = (heat + rest[:, None, None] * pooled).relu().detach().float().cpu()
    return heats


@torch.no_grad()
def hidden_cells(model: CUHS, images: Tensor) -> dict[str, Tensor]:
    """The cells that the first IN branch's attention hides from the second (Eq. 5): A' is 0 there.

    Args:
        model: the network; put into evaluation mode.
        images: (N, 3, H, W), normalised.

    Returns:
        {second branch: (N, h, w) bool}, on the CPU; empty without a stream of two IN branches.
    """
    _, maps = model.eval().features_and_maps(images)
    found = {}
    for stream in model.streams:
        if isinstance(stream, Instance) and len(stream.names) == 2:
            first, second = stream.names
            height, width = maps[first].shape[2:]
            found[second] = exploration_mask(maps[first], stream.peaks(height * width))[:, 0].cpu() == 0
    return found
