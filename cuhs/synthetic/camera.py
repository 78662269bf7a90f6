"""Cameras: their view, their colours, and how they turn a person into an image with a box."""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cuhs.synthetic.body import sample_pose
from cuhs.synthetic.person import Identity, generator, sample_identity
from cuhs.synthetic.render import Sprite, draw_person
from cuhs.synthetic.scene import HEIGHT, PLACES, WIDTH, background, obstacle
from cuhs.synthetic.solids import Array

# Directions in which people face a camera: towards it, away, sideways, and in between.
FACINGS = (0.25, np.pi - 0.3, np.pi / 2, -0.7, np.pi + 0.75, -np.pi / 2)
VISIBLE = 0.5  # least visible share of the head-shoulder part for which a box is written

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Photo:
    """One image with its annotations.

    Attributes:
        image: RGB.
        box: head-shoulder x1 y1 x2 y2 in whole pixels; ``None`` if most of it is hidden.
        covered: x1 y1 x2 y2 of an obstacle in front of the person; ``None`` if there is none.
    """

    image: Image.Image
    box: Box | None
    covered: Box | None


@dataclass(frozen=True)
class Framing:
    """How the image frames the person: with a fixed size (a detector's box) or as cut out by hand.

    Attributes:
        size: width and height in pixels; ``None`` cuts tightly around the person.
        heights: range of heights in pixels of hand-cut images.
        widths: range of widths in pixels of hand-cut images.
        miss: how far the detector missed the person, 0 to 1.
        blocked: probability of an obstacle in front of the person; ``None`` uses the camera's own.
    """

    size: tuple[int, int] | None = None
    heights: tuple[int, int] = (160, 230)
    widths: tuple[int, int] = (60, 90)
    miss: float = 0.0
    blocked: float | None = None


@dataclass(frozen=True)
class Camera:
    """One camera; its name determines everything random about it."""

    name: tuple[object, ...]
    index: int

    @cached_property
    def traits(self) -> dict[str, float]:
        """Properties that are sampled once for the camera."""
        rng = generator(*self.name, "camera")
        return {
            "pitch": rng.uniform(0.04, 0.45),
            "exposure": rng.uniform(0.82, 1.18),
            "gamma": rng.uniform(0.85, 1.2),
            "saturation": rng.uniform(0.65, 1.15),
            "warmth": rng.uniform(-0.14, 0.14),
            "tint": rng.normal(0, 0.04),
            "haze": rng.uniform(0, 0.09),
            "blur": rng.uniform(0.15, 0.5),
            "noise": rng.uniform(0.006, 0.02),
            "quality": rng.uniform(62, 92),
            "blocked": rng.uniform(0.02, 0.2),
            "light": rng.uniform(-0.8, 0.8),
        }

    @cached_property
    def light(self) -> Array:
        """``(3,)`` unit vector towards the light."""
        vector = np.array([self.traits["light"], 0.75, 0.5])
        return vector / np.linalg.norm(vector)

    @cached_property
    def background(self) -> Image.Image:
        """The place in the camera's view."""
        place = tuple(PLACES)[self.index % len(PLACES)]
        return background(generator(*self.name, "place"), place, 0.72 - 0.6 * self.traits["pitch"])

    @cached_property
    def passers_by(self) -> list[Sprite]:
        """People without an identity, 160 px tall."""
        sprites = []
        for i in range(4):
            rng = generator(*self.name, "passer-by", i)
            person = sample_identity(rng, ("black", "white", "other", "other")[i])
            sprites.append(self._draw(rng, person, 160))
        return sprites

    def photograph(self, person: Identity | None, rng: np.random.Generator, framing: Framing) -> Photo:
        """Take an image of a person, or of the place without a person."""
        height = framing.size[1] if framing.size else int(rng.integers(framing.heights[0], framing.heights[1] + 1))
        sprite = None
        if person is not None:
            fill = rng.uniform(0.86, 0.97) * (1 + framing.miss * rng.uniform(-0.25, 0.6))
            sprite = self._draw(rng, person, height * fill / person.height)
        if framing.size:
            width, height = framing.size
        else:
            assert sprite is not None
            low, high = framing.widths
            width = int(np.clip(sprite.alpha.shape[1] * rng.uniform(1.02, 1.3), low, high))
            height = int(np.clip(sprite.alpha.shape[0] * rng.uniform(1.01, 1.07), *framing.heights))
        frame = self._place(rng, width, height)
        if rng.random() < 0.22:
            self._add_passer_by(frame, rng, behind=True)
        shown = np.zeros((height, width), np.float32)
        box, share = None, 0.0
        if sprite is not None:
            x, y = _position(sprite, rng, width, height, framing.miss)
            _cast_shadow(frame, x + sprite.alpha.shape[1] / 2, y + sprite.alpha.shape[0], sprite.alpha.shape[0])
            _paste(frame, sprite.colour, sprite.alpha, x, y)
            _paste(shown, sprite.head_shoulders, sprite.head_shoulders, x, y)
            box = _clipped(
                (sprite.box[0] + x, sprite.box[1] + y, sprite.box[2] + x, sprite.box[3] + y), width, height
            )
        covered = None
        if rng.random() < (self.traits["blocked"] if framing.blocked is None else framing.blocked):
            cover = self._block(frame, rng)
            shown *= 1 - cover
            covered = _extent(cover > 0.5)
        if sprite is not None:
            share = float(shown.sum() / sprite.head_shoulders.sum())
        return Photo(self._develop(frame, rng), box if share >= VISIBLE else None, covered)

    def _draw(self, rng: np.random.Generator, person: Identity, height: float) -> Sprite:
        facing = FACINGS[self.index % len(FACINGS)] + rng.normal(0, 0.4)
        if rng.random() < 0.25:  # some people walk in the opposite direction
            facing += np.pi
        pitch = self.traits["pitch"] + rng.normal(0, 0.03)
        return draw_person(person, sample_pose(rng), rng, height, facing, pitch, self.light)

    def _place(self, rng: np.random.Generator, width: int, height: int) -> Array:
        span = HEIGHT * rng.uniform(0.8, 0.95)
        reach = span * width / height
        left, top = rng.uniform(0, WIDTH - reach), rng.uniform(0, HEIGHT - span)
        area = (left, top, left + reach, top + span)
        piece = self.background.resize((width, height), Image.Resampling.BOX, box=area)
        return np.asarray(piece, np.float32) / 255

    def _add_passer_by(self, frame: Array, rng: np.random.Generator, behind: bool) -> Array:
        """Add a passer-by at the frame's edge, smaller behind or larger in front; return the mask that it covers."""
        sprite = self.passers_by[int(rng.integers(len(self.passers_by)))]
        height, width = frame.shape[:2]
        factor = height / 160 * (rng.uniform(0.65, 0.85) if behind else rng.uniform(1.0, 1.15))
        size = (max(int(sprite.alpha.shape[1] * factor), 1), max(int(sprite.alpha.shape[0] * factor), 1))
        channels = [*np.moveaxis(sprite.colour, -1, 0), sprite.alpha]
        resized = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.BILINEAR)) for c in channels]
        offset = rng.uniform(0.5, 0.85) if behind else rng.uniform(0.28, 0.5)
        centre = width * (0.5 + (offset if rng.random() < 0.5 else -offset))
        bottom = height * (rng.uniform(0.78, 0.9) if behind else rng.uniform(1.02, 1.2))
        x, y = int(centre - size[0] / 2), int(bottom - size[1])
        _paste(frame, np.stack(resized[:3], -1), resized[3], x, y)
        cover = np.zeros((height, width), np.float32)
        _paste(cover, resized[3], resized[3], x, y)
        return cover

    def _block(self, frame: Array, rng: np.random.Generator) -> Array:
        if rng.random() < 0.3:
            return self._add_passer_by(frame, rng, behind=False)
        thing = obstacle(rng, frame.shape[1], frame.shape[0])
        _paste(frame, thing[..., :3], thing[..., 3], 0, 0)
        return thing[..., 3]

    def _develop(self, frame: Array, rng: np.random.Generator) -> Image.Image:
        """Apply colour cast, exposure, contrast, blur, noise and compression, slightly different in every image."""
        traits = self.traits
        warmth, tint = traits["warmth"] + rng.normal(0, 0.02), traits["tint"]
        gains = np.array([1 + warmth, 1 - tint, 1 - warmth]) * traits["exposure"] * np.exp(rng.normal(0, 0.07))
        image = np.clip(frame * gains, 0, 1) ** traits["gamma"]
        grey = image @ np.array([0.299, 0.587, 0.114])
        image = grey[..., None] + traits["saturation"] * (image - grey[..., None])
        image = traits["haze"] + (1 - traits["haze"]) * image
        blur = traits["blur"] * rng.uniform(0.6, 1.4) * frame.shape[0] / 128
        image = gaussian_filter(image, (blur, blur, 0))
        image += rng.normal(0, traits["noise"], image.shape)
        pixels = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG", quality=int(traits["quality"]))
        return Image.open(buffer, formats=["JPEG"]).convert("RGB")


def _position(sprite: Sprite, rng: np.random.Generator, width: int, height: int, miss: float) -> tuple[int, int]:
    rows, columns = sprite.alpha.shape
    x = (width - columns) / 2 + width * rng.normal(0, 0.04 + 0.3 * miss)
    spare = height - rows
    y = spare * rng.uniform(0.3, 0.9) + height * rng.normal(0, 0.006 + 0.25 * miss)
    return round(float(x)), round(float(y))


def _paste(frame: Array, colour: Array, alpha: Array, x: int, y: int) -> None:
    """Blend a premultiplied picture into the frame at column x and row y; parts outside are cut off."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + alpha.shape[0], frame.shape[0]), min(x + alpha.shape[1], frame.shape[1])
    if top >= bottom or left >= right:
        return
    source = (slice(top - y, bottom - y), slice(left - x, right - x))
    clear = 1 - alpha[source]
    target = frame[top:bottom, left:right]
    target *= clear[..., None] if frame.ndim == 3 else clear
    target += colour[source]


def _cast_shadow(frame: Array, x: float, y: float, height: int) -> None:
    rows, columns = np.ogrid[: frame.shape[0], : frame.shape[1]]
    distance = ((columns - x) / (0.17 * height)) ** 2 + ((rows - y + 0.02 * height) / (0.035 * height)) ** 2
    frame *= 1 - 0.5 * np.exp(-distance)[..., None].astype(np.float32)


def _clipped(box: tuple[float, float, float, float], width: int, height: int) -> Box | None:
    x1, y1 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x2, y2 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _extent(mask: Array) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
