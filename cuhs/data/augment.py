"""Image decoding, and augmentation of whole batches; the head-shoulder box follows every geometric change.

What changes an image is drawn from its seed where images are read (:class:`Augmentation`), and applied to the whole
batch on its device (:func:`augmented`).
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# Mean and standard deviation of ImageNet's RGB values, which the published weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# A build stores nothing else, and some other decoders start programs.
STORED = ("JPEG", "PNG")

# The change of an image: whether it is mirrored (0 or 1); its shift dy dx in pixels; the gains of brightness,
# contrast, red, green and blue; the erased rectangle's first row and column, and the row and column after its last.
# This one changes nothing.
UNCHANGED = np.array([0, *(0, 0), *(1, 1, 1, 1, 1), *(0, 0, 0, 0)], np.float32)


def decode(encoded: bytes, height: int, width: int) -> np.ndarray:
    """Decode an image to RGB pixels (height, width, 3) uint8, bilinearly resized."""
    with Image.open(BytesIO(encoded), formats=STORED) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def normalise(pixels: Tensor) -> Tensor:
    """Turn RGB pixels (n, H, W, 3) uint8 into the network's input (n, 3, H, W) float32, channels-last."""
    return _normalised(pixels.float().div_(255)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Augmentation:
    """Horizontal flip, shift, colour jitter and random erasing.

    Attributes:
        flip: probability of mirroring.
        pad: largest shift in pixels at 384×128, scaled with the size; uncovered pixels become black.
        jitter: largest relative change of brightness, contrast and each channel's gain.
        erasing: probability that a rectangle of 2 to 40 % of the image becomes the mean colour.
    """

    flip: float = 0.5
    pad: int = 10
    jitter: float = 0.0
    erasing: float = 0.0

    def draw(self, seed: int, height: int, width: int) -> np.ndarray:
        """Draw the change of an image of this size, (12,) float32 as in :data:`UNCHANGED`; the seed decides it."""
        rng = np.random.default_rng(seed)
        # Draw for every step, even if it is off, so that switching one step does not change the others.
        mirrored, shift = rng.random() < self.flip, rng.uniform(-1, 1, 2)
        gains = 1 + self.jitter * rng.uniform(-1, 1, 5)
        dy, dx = (
            round(float(s) * self.pad * side / full)
            for s, side, full in zip(shift, (height, width), (384, 128), strict=True)
        )
        return np.array([mirrored, dy, dx, *gains, *self._rectangle(rng, height, width)], np.float32)

    def _rectangle(self, rng: np.random.Generator, h: int, w: int) -> tuple[int, int, int, int]:
        if rng.random() < self.erasing:
            for _ in range(20):
                area, aspect = rng.uniform(0.02, 0.4) * h * w, np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
                eh, ew = round(float(area * aspect) ** 0.5), round(float(area / aspect) ** 0.5)
                if 0 < eh < h and 0 < ew < w:
                    y, x = int(rng.integers(0, h - eh + 1)), int(rng.integers(0, w - ew + 1))
                    return y, x, y + eh, x + ew
        return 0, 0, 0, 0


def augmented(pixels: Tensor, boxes: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Change the images of a batch: mirror, then shift, jitter, normalise and erase.

    All on the tensors' device, which the host does not wait for. An image's result does not depend on its batch.

    Args:
        pixels: (n, H, W, 3) uint8.
        boxes: (n, 4) float32, x1 y1 x2 y2 as shares of width and height, or NaN.
        changes: (n, 12) float32, each as in :data:`UNCHANGED`.

    Returns:
        The network's input (n, 3, H, W) float32, channels-last, and the boxes in it, (n, 4) float32, clipped to it.
    """
    mirrored, dy, dx, *gains, top, left, bottom, right = changes[..., None].unbind(1)
    rows, columns = (torch.arange(side, dtype=torch.int32, device=pixels.device) for side in pixels.shape[1:3])
    moved = _moved(pixels, mirrored > 0, rows - dy.int(), columns - dx.int())
    rgb = _jittered(moved.float(), *gains)
    images = _erased(_normalised(rgb), _within(rows, top, bottom), _within(columns, left, right))
    return images.permute(0, 3, 1, 2), _moved_boxes(boxes, mirrored > 0, dy / len(rows), dx / len(columns))


def _moved(pixels: Tensor, mirrored: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Mirrored, then shifted: pixel (i, j) of the result comes from row y[:, i] and column x[:, j], or is black."""
    n, h, w, _ = pixels.shape
    y = torch.where(_within(y, 0, h), y, h)
    x = torch.where(_within(x, 0, w), torch.where(mirrored, w - 1 - x, x), w)
    # Row h and column w are black.
    framed = F.pad(pixels, (0, 0, 0, 1, 0, 1))
    first = torch.arange(0, n * (h + 1), h + 1, dtype=torch.int32, device=pixels.device)[:, None]
    places = ((first + y) * (w + 1))[:, :, None] + x[:, None]
    return framed.view(-1, 3).index_select(0, places.flatten()).view(n, h, w, 3)


def _moved_boxes(boxes: Tensor, mirrored: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """The boxes after mirroring, and a shift by shares of height and width."""
    x1, y1, x2, y2 = boxes[..., None].unbind(1)
    x1, x2 = torch.where(mirrored, 1 - x2, x1), torch.where(mirrored, 1 - x1, x2)
    return torch.cat([x1 + dx, y1 + dy, x2 + dx, y2 + dy], 1).clamp(0, 1)


def _jittered(
    values: Tensor, brightness: Tensor, contrast: Tensor, red: Tensor, green: Tensor, blue: Tensor
) -> Tensor:
    """Turn pixels (n, H, W, 3) float32 of 0 to 255, overwritten, into RGB of 0 to 1 with the gains (n, 1) applied.

    Contrast is about the mean of the normalised image. All gains together are one linear map for each channel.
    """
    mean, std = _statistics(values.device)
    # Sums of whole numbers: exact in any order below 2²⁴, which is 65,793 white pixels.
    average = values.sum(1).sum(1) / (255 * values.shape[1] * values.shape[2])
    grey = ((average - mean) / std).mean(1, keepdim=True) * std + mean
    gains = torch.cat([red, green, blue], 1) * brightness
    scale, offset = contrast * gains, (1 - contrast) * grey * gains
    width = values.shape[2]
    return values.div_(255).mul_(_line(scale, width)).add_(_line(offset, width)).clamp_(0, 1)


def _normalised(rgb: Tensor) -> Tensor:
    """Subtract mean and divide by standard deviation, in place; (n, H, W, 3) float32."""
    mean, std = _statistics(rgb.device)
    return rgb.sub_(_line(mean, rgb.shape[2])).div_(_line(std, rgb.shape[2]))


def _erased(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Set (n, H, W, 3) float32 to 0, in place, where both the row (n, H) and the column (n, W) are to be erased."""
    lines = columns[:, None, :, None].repeat(1, 1, 1, 3)
    return images.masked_fill_(rows[:, :, None, None] & lines, 0)


def _line(channels: Tensor, width: int) -> Tensor:
    """Repeat values of channels (n, 3) along a line, (n, 1, W, 3): several times faster on CPUs than broadcasting."""
    return channels[:, None, None].repeat(1, 1, width, 1)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (1, 3) each, copied to the device once: the host waits for such a copy."""
    with torch.inference_mode(False):
        return torch.tensor([MEAN], device=device), torch.tensor([STD], device=device)


def _within(places: Tensor, first: Tensor | int, end: Tensor | int) -> Tensor:
    return (places >= first) & (places < end)
