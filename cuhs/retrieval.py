"""Computing the features of images."""

from collections.abc import Callable

import torch
from torch import Tensor

from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader, batches
from cuhs.network.cuhs import CUHS
from cuhs.network.folding import folded


def embed(
    model: CUHS,
    images: PersonImages,
    batch: int,
    device: torch.device,
    processes: int = 0,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Compute the features of all images of a split, in its order.

    Args:
        model: the network; put into evaluation mode and moved to ``device``; a folded copy of it computes.
        images: N images.
        batch: images in a batch.
        device: device to compute on.
        processes: number of processes that decode images; 0 decodes in this one.
        on_batch: called after each batch with the number of images done so far.

    Returns:
        (N, Σc) float32, on the CPU.
    """
    model.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = folded(model)
    loader = Loader(images, batches(len(images), batch), processes)
    features, done = [], 0
    # The move above stays outside: parameters moved in inference mode could never be trained or explained again.
    with torch.inference_mode():
        for part in loader:
            inputs, _ = part.inputs(device)
            features.append(network.embed(inputs).cpu())
            done += len(part.labels)
            on_batch(done)
        return torch.cat(features)
