"""Measures of the colours of a person's upper body that are comparable between cameras.

There are two steps, so that the first can run while images are decoded. :func:`torso_features` takes single images.
:func:`describe` takes all people of a source and first removes each camera's own exposure and colour cast.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from cuhs.raw.head_shoulder_boxes import Box

Pid = TypeVar("Pid", bound=Hashable)

# Box for images without a head-shoulder box: the median of the annotated boxes of CUHK03.
USUAL_BOX: Box = (0.11, 0.0, 0.90, 0.285)

# Sampled points. Torso: from the shoulders to the waist (in heights of the box), as wide as the box. Crop: the whole
# image, to find what is dark, bright and grey to the camera.
TORSO = (18, 12)
BELOW, DOWN_TO = 0.75, 1.9
CROP = (16, 8)

# Prior weight, in images, of the whole source when the reference of a camera is estimated.
PRIOR_IMAGES = 10

# The histogram: bins of lightness, as shares of the camera's range, for each tint (grey and six hues).
LIGHTNESS = np.array([0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.19, 0.24, 0.3, 0.37, 0.45, 0.53, 0.62, 0.72, 0.85, 1.0])
HUES = 6
# From about this chroma (Lab) on, a colour counts as tint rather than grey; JPEG noise on grey cloth is below it.
CHROMA = 3.0
# CHROMA is right for cameras whose crops have this median chroma, as CUHK03's have. Of a difference from it (in
# logarithms), half is attributed to the camera and half to the scene.
USUAL_CHROMA = 1.7

# Number of features that belong to the torso.
_OF_TORSO = TORSO[0] * TORSO[1] * 3

# Number of images measured at once.
PIECE = 1024

_QUANTILES = (5, 15, 30, 50, 70, 85, 95)


def torso_features(pixels: np.ndarray, box: Box | None) -> np.ndarray:
    """Sample colours at fixed places of the torso and of the crop.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: head-shoulder box, x1 y1 x2 y2 in [0, 1], or None for :data:`USUAL_BOX`.

    Returns:
        (1032,) uint8: RGB at 18×12 points of the torso and at 16×8 points of the whole crop, row by row.
    """
    x1, y1, x2, y2 = box or USUAL_BOX
    height = y2 - y1
    torso = _sampled(pixels, (x1, y1 + BELOW * height, x2, y1 + DOWN_TO * height), TORSO)
    return np.concatenate([torso.ravel(), _sampled(pixels, (0, 0, 1, 1), CROP).ravel()])


def _sampled(pixels: np.ndarray, region: Box, points: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        ((low + (np.arange(count) + 0.5) / count * (high - low)) * size).astype(int).clip(0, size - 1)
        for low, high, count, size in zip(region[1::-1], region[:1:-1], points, pixels.shape[:2], strict=True)
    )
    return pixels[rows[:, None], columns]


def describe(features: np.ndarray, pids: Sequence[Pid], camids: Sequence[Hashable]) -> tuple[list[Pid], np.ndarray]:
    """Describe each person's upper body over all images.

    Args:
        features: (N, 1032) uint8 of :func:`torso_features`, the images of one source.
        pids: identity of each image.
        camids: camera of each image.

    Returns:
        The identities in order of appearance, and (I, D) float64. Each measure is averaged over the images of a
        camera; a row holds the mean, maximum and minimum of these averages over the person's cameras. Measures
        are: the square roots of a histogram of the torso's lightness and tint; quantiles of lightness and
        chroma; and quantiles of the lightness steps between neighbouring points, which distinguish prints and
        stripes from plain cloth. Lightness is a share of the camera's range from dark to bright, and the
        camera's average colour counts as grey.
    """
    people = views(_measures(features, camids), pids, camids)
    spread = [np.concatenate([seen.mean(axis=0), seen.max(axis=0), seen.min(axis=0)]) for seen in people.values()]
    return list(people), np.array(spread)


def views(values: np.ndarray, pids: Sequence[Pid], camids: Sequence[Hashable]) -> dict[Pid, np.ndarray]:
    """Average (N, D) over each identity's images by camera: (cameras, D) by identity, in order of appearance."""
    rows: dict[Pid, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (pid, camid) in enumerate(zip(pids, camids, strict=True)):
        rows[pid][camid].append(row)
    return {
        pid: np.array([values[images].mean(axis=0) for images in cameras.values()]) for pid, cameras in rows.items()
    }


def exposures(features: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """Return (N, 2, 3) float64: R, G, B of what is dark and of what is bright to the camera of each image.

    Args:
        features: (N, 1032) uint8 of :func:`torso_features`, the images of one source.
        camids: camera of each image.
    """
    images = _in_pieces(lambda piece: np.percentile(_crops(piece), (5, 95), axis=1).transpose(1, 0, 2), features)
    return _of_cameras(images.reshape(len(images), -1), camids).reshape(images.shape)


def _measures(features: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """Return (N, 187) float64: histogram, quantiles and texture of each image."""
    return _in_pieces(_measured, features, _of_cameras(_in_pieces(_reference, features), camids))


def _in_pieces(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Apply a function to pieces of the rows, so that its intermediate results never exist for all rows at once."""
    pieces = range(0, len(arrays[0]), PIECE)
    return np.concatenate([function(*(array[start : start + PIECE] for array in arrays)) for start in pieces])


def _measured(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    # (N, 18, 12, 3)
    lab = _lab(features[:, :_OF_TORSO].reshape(len(features), *TORSO, 3))
    dark, bright, a_grey, b_grey, chroma = references.T[:, :, None, None]
    light = (lab[..., 0] - dark) / np.maximum(bright - dark, 10)
    colourful = np.sqrt(chroma / USUAL_CHROMA).clip(0.5, 4)
    a, b = (lab[..., 1] - a_grey) / colourful, (lab[..., 2] - b_grey) / colourful
    shares = np.sqrt(_histogram(light, a, b) + 1e-6)
    return np.concatenate([shares, _quantiles(light, a, b), _texture(light)], axis=1)


def _crops(features: np.ndarray) -> np.ndarray:
    """Select the points of the whole crops, (N, 1032) to (N, 128, 3)."""
    return features[:, _OF_TORSO:].reshape(len(features), -1, 3)


def _reference(features: np.ndarray) -> np.ndarray:
    """Return (N, 5): for each image what is dark and bright (L), grey (a, b), and the median chroma.

    It uses whole crops, not only torsos: if everyone wore white, a reference from torsos alone would hide it.
    """
    crops = _lab(_crops(features))
    dark, bright = np.percentile(crops[..., 0], (5, 95), axis=1)
    grey = np.median(crops[..., 1:], axis=1)
    chroma = np.median(np.linalg.norm(crops[..., 1:] - grey[:, None], axis=-1), axis=1)
    return np.column_stack([dark, bright, grey, chroma])


def _of_cameras(images: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """Replace (N, K) values of images by their cameras' medians, which lean towards the source's median."""
    of_source = np.median(images, axis=0)
    _, cameras = np.unique([str(camid) for camid in camids], return_inverse=True)
    of_cameras = []
    for camera in range(cameras.max() + 1):
        own = images[cameras == camera]
        share = len(own) / (len(own) + PRIOR_IMAGES)
        of_cameras.append(share * np.median(own, axis=0) + (1 - share) * of_source)
    return np.array(of_cameras)[cameras]


def _histogram(light: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, 16 · 7): shares of the points in bins of lightness by tint, linearly weighted between bins."""
    position = np.interp(light, LIGHTNESS, np.arange(len(LIGHTNESS)))
    lightness = _near(position[..., None] - np.arange(len(LIGHTNESS)))
    grey = np.exp(-(a**2 + b**2) / CHROMA**2)[..., None]
    turn = (np.arctan2(b, a) / (2 * np.pi))[..., None] * HUES - np.arange(HUES)
    tint = np.concatenate([grey, (1 - grey) * _near((turn + HUES / 2) % HUES - HUES / 2)], axis=-1)
    return np.einsum("nyxl,nyxt->nlt", lightness, tint, optimize=True).reshape(len(light), -1) / light[0].size


def _near(distance: np.ndarray) -> np.ndarray:
    return (1 - np.abs(distance)).clip(min=0)


def _quantiles(light: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, 66): quantiles of lightness and chroma of the torso and its middle, and medians by row."""
    chroma = np.hypot(a, b)
    middle = np.s_[:, :, TORSO[1] // 4 : -TORSO[1] // 4]
    parts = [
        np.percentile(values.reshape(len(light), -1), _QUANTILES, axis=1).T
        for values in (light, light[middle], chroma, chroma[middle])
    ]
    tint = [np.median(values[middle].reshape(len(light), -1), axis=1)[:, None] for values in (a, b)]
    return np.concatenate([*parts, *tint, np.median(light[middle], 2), np.median(chroma[middle], 2)], axis=1)


def _texture(light: np.ndarray) -> np.ndarray:
    """Return (N, 9): quantiles of the vertical and horizontal steps, and the unevenness between the middle's rows."""
    steps = [np.abs(np.diff(light, axis=axis)).reshape(len(light), -1) for axis in (1, 2)]
    rows = light[:, :, TORSO[1] // 4 : -TORSO[1] // 4].mean(axis=2)
    uneven = np.abs(np.diff(rows, n=2, axis=1)).mean(axis=1)[:, None]
    return np.concatenate([*(np.percentile(step, (50, 75, 90, 97), axis=1).T for step in steps), uneven], axis=1)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert uint8 sRGB (..., 3) to CIELAB under D65 (..., 3) float32 (IEC 61966-2-1, CIE 15)."""
    xyz = _LINEAR[rgb] @ _TO_XYZ.T
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_STEPS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# Scaled so that white is (1, 1, 1).
_TO_XYZ = (_XYZ / _XYZ.sum(axis=1, keepdims=True)).astype(np.float32)
