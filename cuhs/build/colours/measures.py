"""What the colours of a person's upper body look like, measured so that cameras can be compared.

Two steps, so that the first can be done while images are decoded: :func:`torso_features` of each image alone, and
:func:`describe` of the people of a source, which first takes every camera's own exposure and colour cast out.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from cuhs.raw.head_shoulder_boxes import Box

Pid = TypeVar("Pid", bound=Hashable)

# Where an image has no head-shoulder box: the median of the boxes annotated in CUHK03.
USUAL_BOX: Box = (0.11, 0.0, 0.90, 0.285)

# Sampled points: of the torso, from the shoulders to the waist in heights of the box and as wide as the box, and
# of the whole crop, for what is dark, bright and grey to the camera.
TORSO = (18, 12)
BELOW, DOWN_TO = 0.75, 1.9
CROP = (16, 8)

# A camera's reference leans towards that of the whole source as if it had this many images more.
PRIOR_IMAGES = 10

# The histogram: lightness, in shares of the camera's range, by tint (grey, and six hues).
LIGHTNESS = np.array([0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.19, 0.24, 0.3, 0.37, 0.45, 0.53, 0.62, 0.72, 0.85, 1.0])
HUES = 6
# A chroma (Lab) of this much is more tint than grey: JPEG's noise on grey cloth stays under it.
CHROMA = 3.0
# The median chroma of a camera's crops at which that holds: CUHK03's. Where crops are more colourful, half of the
# difference (in logarithms) is put down to the camera, the other half to what it looks at.
USUAL_CHROMA = 1.7

# How many of the features are of the torso.
_OF_TORSO = TORSO[0] * TORSO[1] * 3

# Images that are measured at once.
PIECE = 1024

_QUANTILES = (5, 15, 30, 50, 70, 85, 95)


def torso_features(pixels: np.ndarray, box: Box | None) -> np.ndarray:
    """Colours at fixed places of the torso and of the crop.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the head-shoulder box, x1 y1 x2 y2 in [0, 1], or None for :data:`USUAL_BOX`.

    Returns:
        (1032,) uint8: RGB at 18×12 points under the head and at 16×8 points of the whole crop, row by row.
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
    """What each person's upper body looks like over all images.

    Args:
        features: (N, 1032) uint8 of :func:`torso_features`, the images of one source.
        pids: the identity of each.
        camids: the camera of each.

    Returns:
        The identities in order of appearance, and (I, D) float64: for every identity the mean, largest and
        smallest value over its cameras of each measure's mean over the camera's images. Measures are the roots
        of a histogram of the torso's lightness and tint, quantiles of lightness and chroma, and quantiles of the
        lightness steps between neighbouring points, which tell prints and stripes from plain cloth. Lightness is
        in shares of the camera's range from dark to bright, and what is grey on average to the camera is grey.
    """
    people = views(_measures(features, camids), pids, camids)
    spread = [np.concatenate([seen.mean(axis=0), seen.max(axis=0), seen.min(axis=0)]) for seen in people.values()]
    return list(people), np.array(spread)


def views(values: np.ndarray, pids: Sequence[Pid], camids: Sequence[Hashable]) -> dict[Pid, np.ndarray]:
    """(N, D) values of images to (cameras, D) of each identity, in order of appearance: the means over its images."""
    rows: dict[Pid, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (pid, camid) in enumerate(zip(pids, camids, strict=True)):
        rows[pid][camid].append(row)
    return {
        pid: np.array([values[images].mean(axis=0) for images in cameras.values()]) for pid, cameras in rows.items()
    }


def exposures(features: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """(N, 2, 3) float64: what is dark and what is bright in R, G and B to the camera of each image.

    Args:
        features: (N, 1032) uint8 of :func:`torso_features`, the images of one source.
        camids: the camera of each.
    """
    images = _in_pieces(lambda piece: np.percentile(_crops(piece), (5, 95), axis=1).transpose(1, 0, 2), features)
    return _of_cameras(images.reshape(len(images), -1), camids).reshape(images.shape)


def _measures(features: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """(N, 187) float64: the histogram, the quantiles and the texture of each image."""
    return _in_pieces(_measured, features, _of_cameras(_in_pieces(_reference, features), camids))


def _in_pieces(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """What a function of rows gives, without holding what it needs in between for all of them at once."""
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
    """(N, 1032) features to (N, 128, 3): the points of the whole crops."""
    return features[:, _OF_TORSO:].reshape(len(features), -1, 3)


def _reference(features: np.ndarray) -> np.ndarray:
    """(N, 5): what is dark and bright (L), grey (a, b) and usual in chroma in each image.

    It is taken from all that the crops show, and not from torsos alone: where everyone wears white, a camera that
    made the torsos its measure would find nobody in white.
    """
    crops = _lab(_crops(features))
    dark, bright = np.percentile(crops[..., 0], (5, 95), axis=1)
    grey = np.median(crops[..., 1:], axis=1)
    chroma = np.median(np.linalg.norm(crops[..., 1:] - grey[:, None], axis=-1), axis=1)
    return np.column_stack([dark, bright, grey, chroma])


def _of_cameras(images: np.ndarray, camids: Sequence[Hashable]) -> np.ndarray:
    """(N, K) values of images to the medians of their cameras, which lean towards that of the source."""
    of_source = np.median(images, axis=0)
    _, cameras = np.unique([str(camid) for camid in camids], return_inverse=True)
    of_cameras = []
    for camera in range(cameras.max() + 1):
        own = images[cameras == camera]
        share = len(own) / (len(own) + PRIOR_IMAGES)
        of_cameras.append(share * np.median(own, axis=0) + (1 - share) * of_source)
    return np.array(of_cameras)[cameras]


def _histogram(light: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 16 · 7): shares of the points in bins of lightness by tint, with linear weights between bins."""
    position = np.interp(light, LIGHTNESS, np.arange(len(LIGHTNESS)))
    lightness = _near(position[..., None] - np.arange(len(LIGHTNESS)))
    grey = np.exp(-(a**2 + b**2) / CHROMA**2)[..., None]
    turn = (np.arctan2(b, a) / (2 * np.pi))[..., None] * HUES - np.arange(HUES)
    tint = np.concatenate([grey, (1 - grey) * _near((turn + HUES / 2) % HUES - HUES / 2)], axis=-1)
    return np.einsum("nyxl,nyxt->nlt", lightness, tint, optimize=True).reshape(len(light), -1) / light[0].size


def _near(distance: np.ndarray) -> np.ndarray:
    return (1 - np.abs(distance)).clip(min=0)


def _quantiles(light: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 66): quantiles of lightness and chroma, of the torso and its middle, and the middle row by row."""
    chroma = np.hypot(a, b)
    middle = np.s_[:, :, TORSO[1] // 4 : -TORSO[1] // 4]
    parts = [
        np.percentile(values.reshape(len(light), -1), _QUANTILES, axis=1).T
        for values in (light, light[middle], chroma, chroma[middle])
    ]
    tint = [np.median(values[middle].reshape(len(light), -1), axis=1)[:, None] for values in (a, b)]
    return np.concatenate([*parts, *tint, np.median(light[middle], 2), np.median(chroma[middle], 2)], axis=1)


def _texture(light: np.ndarray) -> np.ndarray:
    """(N, 9): quantiles of the steps downwards and sideways, and how unevenly the middle's rows follow each other."""
    steps = [np.abs(np.diff(light, axis=axis)).reshape(len(light), -1) for axis in (1, 2)]
    rows = light[:, :, TORSO[1] // 4 : -TORSO[1] // 4].mean(axis=2)
    uneven = np.abs(np.diff(rows, n=2, axis=1)).mean(axis=1)[:, None]
    return np.concatenate([*(np.percentile(step, (50, 75, 90, 97), axis=1).T for step in steps), uneven], axis=1)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """uint8 sRGB (..., 3) to CIELAB under D65 (..., 3) float32 (IEC 61966-2-1, CIE 15)."""
    xyz = _LINEAR[rgb] @ _TO_XYZ.T
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_STEPS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# White is (1, 1, 1).
_TO_XYZ = (_XYZ / _XYZ.sum(axis=1, keepdims=True)).astype(np.float32)
