"""Attention maps: the regions of each branch's feature map that make two images similar."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cuhs.network.cuhs import CUHS


def similarity_maps(model: CUHS, first: Tensor, second: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Map how much each cell adds to the cosine similarity of two images, for each branch.

    The map is gradient times activation, summed over the channels, with negative values set to zero. It is
    each cell's exact contribution for average pooling with a linear reduction, and a first-order approximation
    for other poolings (Grad-CAM of Selvaraju et al., with the similarity in place of a class).

    Args:
        model: the network; put into evaluation mode.
        first, second: normalised images, (3, H, W).

    Returns:
        {branch: (map of first, map of second)}, (h, w) float32 each, non-negative.
    """
    model.eval()
    with torch.enable_grad():
        features, maps = model.features_and_maps(torch.stack([first, second]))
        necked = model.classified(features)
        gradients = {
            # Each by itself: stripes share one map.
            name: torch.autograd.grad(F.cosine_similarity(pair[:1], pair[1:]), maps[name], retain_graph=True)[0]
            for name, pair in necked.items()
        }
    heats = {}
    for name, gradient in gradients.items():
        activation = maps[name]
        heat = (activation * gradient).sum(1).relu().detach().float().cpu()
        heats[name] = (heat[0], heat[1])
    return heats
