"""Torso network: predicts black, white or other; one of two classifiers in :mod:`cuhs.build.colours.linear_model`.

It is a MobileNetV2 up to its last block at stride 16, with 0.54 million weights, in the file beside this one. All
weights started from ImageNet's and were fine-tuned on CUHK03's camera pair 1 by
``python -m benchmarks.clothing_colour --data RAW --fit``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from cuhs.build.colours.measures import USUAL_BOX
from cuhs.errors import CuhsError
from cuhs.raw.head_shoulder_boxes import Box
from cuhs.raw.labels import COLOURS

FITTED = Path(__file__).with_suffix(".safetensors")

# Extent of the cut-out, from the chin to the hips: below the top of the head-shoulder box in heights of the box, and
# beside it in widths.
BELOW, DOWN_TO, BESIDE = 0.45, 2.15, 0.08
# Size of the cut-out in pixels, and the margin on each side for shifts in training.
HEIGHT, WIDTH, MARGIN = 72, 64, 4
# What is dark and bright to a camera is mapped to these levels, of 255. LEAST_RANGE limits the stretch: a smaller
# range between dark and bright comes from fog or night.
DARK, BRIGHT, LEAST_RANGE = 26, 217, 20
# Mean and deviation of ImageNet's pixels, over all channels.
MEAN, DEVIATION = 115, 57

# Blocks up to the last one at stride 16, and its channels.
_BLOCKS, _CHANNELS = 14, 96


class TorsoNetwork(nn.Module):
    """Maps torsos (N, 3, H, W) from :func:`inputs` to scores (N, 3) of :data:`cuhs.raw.labels.COLOURS`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mobilenet_v2().features[:_BLOCKS]
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * _CHANNELS, len(COLOURS)))
        # Channels-last, because depthwise convolutions on CPUs are slow in other layouts.
        self.to(memory_format=torch.channels_last)

    def forward(self, torsos: Tensor) -> Tensor:
        """Compute the scores before the softmax."""
        maps = self.body(torsos)
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))

    def save(self, path: Path) -> None:
        """Write the weights in half precision."""
        save_file(
            {
                name: value.half().contiguous() if value.is_floating_point() else value
                for name, value in self.state_dict().items()
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> "TorsoNetwork":
        """Read a file written by :meth:`save`, in evaluation mode.

        Raises:
            CuhsError: the file is missing or is not a torso network.
        """
        network = cls()
        try:
            network.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise CuhsError(f"{path}: no such torso network") from error
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CuhsError(f"{path}: not a torso network ({reason}); fit it again") from error
        return network.eval()


@cache
def fitted() -> TorsoNetwork:
    """Load the network that comes with the project."""
    return TorsoNetwork.load(FITTED)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one core: torsos are so small that threads would mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cut_out(pixels: np.ndarray, box: Box | None) -> np.ndarray:
    """Cut out the upper body, (72, 64, 3) uint8.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: head-shoulder box, x1 y1 x2 y2 in [0, 1], or None for :data:`cuhs.build.colours.measures.USUAL_BOX`.
    """
    x1, y1, x2, y2 = box or USUAL_BOX
    down, aside = y2 - y1, BESIDE * (x2 - x1)
    corners = np.array([x1 - aside, y1 + BELOW * down, x2 + aside, y1 + DOWN_TO * down]).clip(0, 1)
    size = pixels.shape[1::-1]
    region = tuple(corners * (*size, *size))
    return np.asarray(Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=region))


def levelled(cuts: np.ndarray, exposures: np.ndarray) -> Tensor:
    """Remove the camera's exposure and colour cast from torsos.

    Args:
        cuts: (N, 72, 64, 3), from :func:`cut_out`.
        exposures: (N, 2, 3), from :func:`cuhs.build.colours.measures.exposures`.

    Returns:
        (N, 3, 72, 64) uint8.
    """
    dark, bright = exposures.astype(np.float32)[:, :, None, None].swapaxes(0, 1)
    shares = (cuts - dark) / np.maximum(bright - dark, LEAST_RANGE)
    levels = (DARK + (BRIGHT - DARK) * shares).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(levels).permute(0, 3, 1, 2)


def inputs(torsos: Tensor) -> Tensor:
    """Turn torsos (N, 3, H, W) uint8 into the network's input."""
    return ((torsos.float() - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def probabilities(network: TorsoNetwork, torsos: Tensor) -> np.ndarray:
    """Map (N, 3, 72, 64) uint8 of :func:`levelled` to (N, 3) float32, averaged with the mirrored torso."""
    parts = []
    for batch in torsos[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN].split(256):
        shown = inputs(batch)
        parts.append((network(shown).softmax(1) + network(shown.flip(3)).softmax(1)) / 2)
    return torch.cat(parts).numpy()
