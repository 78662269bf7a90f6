"""What the network looks at: which cells of each branch's map make two images alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cuhs.network.cuhs import CUHS


def similarity_maps(model: CUHS, first: Tensor, second: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """How much each cell of the two images' maps adds to their cosine similarity, branch by branch.

    Gradient times activation, summed over the channels, negative values cut: for average pooling and a linear
    reduction that is the exact share of each cell; for the other poolings it is the first-order one (Grad-CAM of
    Selvaraju et al., with the similarity in place of a class).

    Args:
        model: the network; it is put into evaluation mode.
        first, second: (3, H, W), normalised.

    Returns:
        {branch: ((h, w), (h, w))} float32, non-negative.
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
