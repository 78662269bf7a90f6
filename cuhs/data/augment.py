"""Image decoding and augmentation; the head-shoulder box follows every geometric change."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Mean and standard deviation of ImageNet's RGB values, which the published weights expect.
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

# A build stores nothing else, and some other decoders start programs.
STORED = ("JPEG", "PNG")


def decode(encoded: bytes, height: int, width: int) -> np.ndarray:
    """Decode an image to RGB pixels (height, width, 3) uint8, bilinearly resized."""
    with Image.open(BytesIO(encoded), formats=STORED) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def normalise(pixels: np.ndarray) -> Tensor:
    """Turn RGB pixels (H, W, 3) uint8 into the network's input (3, H, W) float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
    return tensor.sub_(MEAN).div_(STD)


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

    def __call__(self, pixels: np.ndarray, box: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        """Augment one image; the same seed gives the same result.

        Args:
            pixels: (H, W, 3) uint8.
            box: x1 y1 x2 y2 as shares of width and height, or NaN.
            seed: seed of all random choices.

        Returns:
            The input (3, H, W) float32, and the box in the augmented image, (4,) float32, clipped to it.
        """
        rng = np.random.default_rng(seed)
        # Draw for every step, even if it is off, so that switching one step does not change the others.
        mirrored, shift = rng.random() < self.flip, rng.uniform(-1, 1, 2)
        gains = 1 + self.jitter * rng.uniform(-1, 1, 5)
        box = box.astype(np.float32)
        if mirrored:
            pixels = pixels[:, ::-1]
            box = np.array([1 - box[2], box[1], 1 - box[0], box[3]], np.float32)
        pixels, box = self._shifted(pixels, box, shift)
        tensor = self._jittered(normalise(pixels), gains) if self.jitter else normalise(pixels)
        self._erase(tensor, rng)
        return tensor, torch.from_numpy(np.clip(box, 0, 1))

    def _shifted(self, pixels: np.ndarray, box: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, w = pixels.shape[:2]
        dy, dx = (
            round(float(s) * self.pad * side / full) for s, side, full in zip(shift, (h, w), (384, 128), strict=True)
        )
        if dy == dx == 0:
            return pixels, box
        moved = np.zeros_like(pixels)
        moved[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = pixels[
            max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)
        ]
        return moved, box + np.array([dx / w, dy / h, dx / w, dy / h], np.float32)

    @staticmethod
    def _jittered(tensor: Tensor, gains: np.ndarray) -> Tensor:
        brightness, contrast, *channels = gains
        mean = tensor.mean()
        colour = torch.tensor(channels, dtype=torch.float32)[:, None, None]
        rgb = ((tensor - mean) * contrast + mean) * STD + MEAN
        return ((rgb * brightness * colour).clamp(0, 1) - MEAN) / STD

    def _erase(self, tensor: Tensor, rng: np.random.Generator) -> None:
        if rng.random() >= self.erasing:
            return
        _, h, w = tensor.shape
        for _ in range(20):
            area, aspect = rng.uniform(0.02, 0.4) * h * w, np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
            eh, ew = round(float(area * aspect) ** 0.5), round(float(area / aspect) ** 0.5)
            if 0 < eh < h and 0 < ew < w:
                y, x = rng.integers(0, h - eh + 1), rng.integers(0, w - ew + 1)
                tensor[:, y : y + eh, x : x + ew] = 0
                return
