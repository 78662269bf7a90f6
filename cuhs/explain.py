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
        similarity = torch.stack([F.cosine_similarity(pair[:1], pair[1:]) for pair in necked.values()]).sum()
        gradients = torch.autograd.grad(similarity, list(maps.values()))
    heats = {}
    for (name, activation), gradient in zip(maps.items(), gradients, strict=True):
        heat = (activation * gradient).sum(1).relu().detach().float().cpu()
        heats[name] = (heat[0], heat[1])
    return heats
