"""Images to features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cuhs.data.dataset import PersonImages, collate
from cuhs.network.cuhs import CUHS


def embed(
    model: CUHS,
    images: PersonImages,
    batch: int,
    device: torch.device,
    processes: int = 0,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Features of all images of a split, in its order.

    Args:
        model: the network; it is put into evaluation mode and moved to ``device``.
        images: N images.
        batch: images at a time.
        device: to compute on.
        processes: that decode images; 0 decodes in this one.
        on_batch: called with the number of images done.

    Returns:
        (N, Σc) float32 on the CPU.
    """
    model.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader = DataLoader(images, batch_size=batch, num_workers=processes, collate_fn=collate)
    features, done = [], 0
    # Not around the move above: parameters moved in inference mode could never be trained or explained again.
    with torch.inference_mode():
        for part in loader:
            features.append(model.embed(part.images.to(device)).cpu())
            done += len(part.labels)
            on_batch(done)
        return torch.cat(features)
