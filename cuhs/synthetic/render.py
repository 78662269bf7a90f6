"""Drawing of one lit person as a cut-out, with the exact head-shoulder box."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import uniform_filter, zoom

from cuhs.synthetic.body import Pose, draw_body
from cuhs.synthetic.person import Identity
from cuhs.synthetic.solids import BODY, CLOTH, Array, Canvas, View

SUPERSAMPLING = 2
ARMPIT = 0.735  # height of the lower end of head and shoulders


@dataclass(frozen=True)
class Sprite:
    """A drawn person, cropped tightly.

    Attributes:
        colour: ``(H, W, 3)`` float32 RGB in [0, 1], multiplied by ``alpha``.
        alpha: ``(H, W)`` float32 in [0, 1].
        head_shoulders: ``(H, W)`` float32 in [0, 1], coverage by the head-shoulder part.
        box: head-shoulder x1 y1 x2 y2 in pixels of the sprite.
    """

    colour: Array
    alpha: Array
    head_shoulders: Array
    box: tuple[float, float, float, float]


def draw_person(
    identity: Identity,
    pose: Pose,
    rng: np.random.Generator,
    height: float,
    yaw: float,
    pitch: float,
    light: Array,
) -> Sprite:
    """Draw a person on a transparent background.

    Args:
        identity: the person.
        pose: the person's pose.
        rng: generator for the folds of the cloth.
        height: height in pixels of an average person.
        yaw: 0 faces the camera, π shows the back.
        pitch: elevation of the camera.
        light: ``(3,)`` unit vector towards the light: right, up, towards the camera.
    """
    rows, columns = int(height * 1.25) * SUPERSAMPLING, int(height * 0.8) * SUPERSAMPLING
    scale = height * identity.height * SUPERSAMPLING
    view = View(yaw, pitch, 0.25 * np.sin(pitch) + 0.04, scale, columns / 2, rows - 0.09 * height * SUPERSAMPLING)
    canvas = Canvas(rows, columns, view)
    draw_body(canvas, identity, pose)
    line = view.project(np.array([0, ARMPIT, 0]))[1]
    upper = (canvas.part > 0) & (canvas.part < BODY) & (np.arange(rows)[:, None] < line)
    window = _window(canvas.part > 0)
    canvas.crop(window)
    cover = canvas.part > 0
    return Sprite(
        colour=_shrink(_shade(canvas, light, rng) * cover[..., None]),
        alpha=_shrink(cover),
        head_shoulders=_shrink(upper[window]),
        box=_bounds(upper[window]),
    )


def _window(mask: Array) -> tuple[slice, slice]:
    """Return the rows and columns of the mask, widened to whole output pixels."""
    spans = []
    for axis in (1, 0):
        hit = np.flatnonzero(mask.any(axis))
        first, last = hit[0] // SUPERSAMPLING, -(-(hit[-1] + 1) // SUPERSAMPLING)
        spans.append(slice(int(first) * SUPERSAMPLING, int(last) * SUPERSAMPLING))
    return spans[0], spans[1]


def _shrink(image: Array) -> Array:
    rows, columns = image.shape[0] // SUPERSAMPLING, image.shape[1] // SUPERSAMPLING
    blocks = image.reshape(rows, SUPERSAMPLING, columns, SUPERSAMPLING, *image.shape[2:])
    return blocks.mean((1, 3), dtype=np.float32)


def _bounds(mask: Array) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return x1 / SUPERSAMPLING, y1 / SUPERSAMPLING, x2 / SUPERSAMPLING, y2 / SUPERSAMPLING


@cache
def _folds() -> Array:
    """Return ``(1024, 768, 2)``, slopes of a fixed field of smooth, mostly vertical waves: folds of cloth."""
    rng = np.random.default_rng(7)
    field = np.zeros((1024, 768))
    for tall, wide in ((32, 16), (64, 64)):
        field += zoom(rng.normal(0, 1, (1024 // tall, 768 // wide)), (tall, wide), order=3)
    return np.clip(np.stack(np.gradient(field)[::-1], -1) * 6, -0.8, 0.8).astype(np.float32)


def _shade(canvas: Canvas, light: Array, rng: np.random.Generator) -> Array:
    """Light the canvas, ``(H, W, 3)`` in [0, 1]: half-Lambert, soft occlusion in creases, folds on cloth."""
    rows, columns = canvas.part.shape
    reach = max(int(0.03 * canvas.view.scale), 3)
    cloth = ((canvas.part == CLOTH) | (canvas.part == BODY)).astype(np.float32)
    # Smooth the normals of cloth, because it spans the joints between shapes.
    rounded = uniform_filter(canvas.normal * cloth[..., None], (reach, reach, 0))
    normal = canvas.normal * (1 - 0.65 * cloth)[..., None] + rounded
    field = _folds()
    top, left = (int(rng.integers(0, field.shape[axis] - size)) for axis, size in enumerate((rows, columns)))
    folds = field[top : top + rows, left : left + columns]
    normal[..., :2] += folds * (0.45 * cloth[..., None])
    normal /= np.sqrt(np.einsum("ijk,ijk->ij", normal, normal) + 1e-9)[..., None]
    facing = np.clip(normal @ light.astype(np.float32), -1, 1)
    half = 0.5 + 0.5 * facing
    lit = 0.36 + 0.74 * half * np.sqrt(half)
    # Darken pixels that are farther from the camera than their neighbourhood: they receive less light.
    cover = canvas.part > 0
    depth = np.where(cover, canvas.depth, canvas.depth[cover].min())
    weight = uniform_filter(cover.astype(np.float32), reach)
    around = uniform_filter(depth * cover, reach) / np.maximum(weight, 1e-3)
    crease = np.clip((around - depth) / (0.05 * canvas.view.scale), 0, 1)
    lit = lit * (1 - 0.45 * crease)
    # Add a faint sheen, so that the shape of dark cloth stays visible.
    sheen = 0.05 * np.clip(facing, 0, 1) ** 3
    return np.clip(canvas.colour * lit[..., None] + sheen[..., None], 0, 1)
