"""Places: a wide background for each camera, which images show parts of, and obstacles."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from cuhs.synthetic.solids import Array

WIDTH, HEIGHT = 1200, 240  # size of a background in pixels
RGB = tuple[int, int, int]
BOXES = ((176, 136, 88), (150, 112, 70), (120, 128, 136), (70, 96, 130), (190, 190, 186))


def background(rng: np.random.Generator, place: str, floor: float) -> Image.Image:
    """Draw a place, RGB, :data:`WIDTH` × :data:`HEIGHT`.

    Args:
        rng: generator for colours and furniture.
        place: one of :data:`PLACES`.
        floor: height at which wall and floor meet, as a share of the image; higher up for an elevated camera.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT))
    row = int(HEIGHT * floor)
    PLACES[place](ImageDraw.Draw(image), rng, row)
    image = image.filter(ImageFilter.GaussianBlur(0.8))
    # Add uneven light and grain, so that no surface is uniform.
    blotches = rng.normal(0, 1, (6, 26)).astype(np.float32)
    light = np.asarray(Image.fromarray(blotches).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 1, (HEIGHT, WIDTH, 1))
    pixels = np.asarray(image, np.float32) * (1 + 0.06 * light[..., None]) + 4 * grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator, base: RGB, amount: float = 10) -> RGB:
    red, green, blue = (int(np.clip(channel + rng.normal(0, amount), 0, 255)) for channel in base)
    return red, green, blue


def _fill(draw: ImageDraw.ImageDraw, top: int, bottom: int, start: RGB, end: RGB) -> None:
    """Draw a vertical gradient."""
    for y in range(top, bottom):
        share = (y - top) / max(bottom - top, 1)
        red, green, blue = (int(a + (b - a) * share) for a, b in zip(start, end, strict=True))
        draw.line((0, y, WIDTH, y), fill=(red, green, blue))


def _floor(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int, colour: RGB, tiles: float) -> None:
    """Draw a floor that darkens towards the wall, with joints in perspective; ``tiles`` is their strength."""
    far, near = _shade(colour, 0.78), _shade(colour, 1.05)
    _fill(draw, row, HEIGHT, far, near)
    joint = _shade(colour, 1 - 0.25 * tiles)
    slant = rng.uniform(-1.2, 1.2)
    for x in range(-400, WIDTH + 400, int(rng.uniform(26, 44))):
        draw.line((x, row, x + slant * (HEIGHT - row), HEIGHT), fill=joint)
    y, step = float(row), 3.0
    while y < HEIGHT:
        draw.line((0, y, WIDTH, y), fill=joint)
        y, step = y + step, step * 1.35


def _shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (int(min(channel * factor, 255)) for channel in colour)
    return red, green, blue


def _corridor(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    wall = _colour(rng, (196, 188, 170))
    _fill(draw, 0, row, _shade(wall, 1.08), _shade(wall, 0.88))
    x = 10
    while x < WIDTH:
        door = _colour(rng, (128, 92, 64), 14)
        width = int(rng.uniform(48, 64))
        draw.rectangle((x - 4, 20, x + width + 4, row), fill=_shade(wall, 0.7))
        draw.rectangle((x, 24, x + width, row), fill=door)
        draw.rectangle((x + 14, 40, x + width - 14, 74), fill=_shade(door, 1.35))
        draw.ellipse((x + 5, row // 2 + 20, x + 10, row // 2 + 25), fill=(200, 196, 180))
        board = x + width + 30
        draw.rectangle((board, 40, board + 50, 84), fill=_colour(rng, (110, 130, 124), 22))
        x += int(rng.uniform(150, 210))
    draw.rectangle((0, row - 7, WIDTH, row), fill=_shade(wall, 0.5))
    _floor(draw, rng, row, _colour(rng, (150, 146, 138)), 0.8)


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    _fill(draw, 0, row, (206, 216, 226), (190, 196, 200))
    x = 0
    while x < WIDTH:
        house, width = _colour(rng, (150, 132, 116), 13), int(rng.uniform(90, 170))
        draw.rectangle((x, int(rng.uniform(0, 18)), x + width, row), fill=house)
        for wx in range(x + 10, x + width - 20, 30):
            for wy in range(24, row - 70, 38):
                draw.rectangle((wx, wy, wx + 17, wy + 25), fill=_colour(rng, (70, 84, 98), 14))
        draw.rectangle((x + 8, row - 58, x + width - 8, row), fill=_colour(rng, (52, 58, 66), 12))
        draw.rectangle((x + 4, row - 70, x + width - 4, row - 56), fill=_colour(rng, (150, 80, 66), 25))
        x += width
    for x in range(60, WIDTH, 260):
        car = _colour(rng, (120, 70, 70), 35)
        draw.rounded_rectangle((x, row - 26, x + 110, row + 6), 9, fill=car)
        draw.rounded_rectangle((x + 22, row - 46, x + 86, row - 18), 12, fill=_shade(car, 0.85))
        draw.rounded_rectangle((x + 28, row - 41, x + 80, row - 24), 6, fill=(56, 66, 76))
        for wheel in (x + 14, x + 78):
            draw.ellipse((wheel, row - 6, wheel + 20, row + 14), fill=(24, 24, 26))
    _floor(draw, rng, row + 14, _colour(rng, (138, 136, 132)), 0.6)
    draw.rectangle((0, row + 12, WIDTH, row + 17), fill=(176, 174, 168))


def _park(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    _fill(draw, 0, row, (182, 204, 222), (196, 210, 200))
    for x in range(-20, WIDTH, 90):
        trunk = x + int(rng.uniform(0, 50))
        draw.rectangle((trunk, 40, trunk + int(rng.uniform(8, 16)), row), fill=_colour(rng, (84, 66, 50)))
    _leaves(draw, rng, (-20, -20, WIDTH + 20, 92), 1500, 9)
    _leaves(draw, rng, (-20, row - 40, WIDTH + 20, row - 4), 1200, 6)
    _fill(draw, row, HEIGHT, (92, 116, 66), (112, 134, 78))
    slope = rng.uniform(0.08, 0.2)
    for x in range(0, WIDTH, 4):
        y = row + 12 + 8 * np.sin(x * slope * 0.1)
        draw.line((x, y, x, HEIGHT), fill=_colour(rng, (172, 158, 132), 3), width=4)


def _leaves(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, area: tuple[float, ...], count: int, size: float
) -> None:
    x1, y1, x2, y2 = area
    for i in range(count):
        light = 0.55 + 0.6 * i / count
        x, y, r = rng.uniform(x1, x2), rng.uniform(y1, y2), rng.uniform(0.4, 1) * size
        draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=_shade(_colour(rng, (70, 98, 52), 9), light))


def _hall(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    glass = _colour(rng, (150, 176, 190))
    _fill(draw, 0, row, _shade(glass, 1.25), _shade(glass, 0.9))
    for x in range(0, WIDTH, 56):
        draw.polygon(((x + 8, 0), (x + 26, 0), (x + 14, row), (x, row)), fill=_shade(glass, 1.18))
        draw.rectangle((x - 2, 0, x + 2, row), fill=(84, 90, 96))
    for y in (60, 130):
        draw.rectangle((0, y, WIDTH, y + 3), fill=(84, 90, 96))
    for x in range(120, WIDTH, 310):
        for i in range(40):
            draw.line((x + i, 0, x + i, row + 6), fill=_shade((206, 202, 194), 0.6 + 0.45 * np.sin(np.pi * i / 40)))
    _floor(draw, rng, row, _colour(rng, (190, 186, 180)), 0.35)


def _brick(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    base = _colour(rng, (146, 90, 74))
    draw.rectangle((0, 0, WIDTH, row), fill=_shade(base, 1.3))
    for n, y in enumerate(range(0, row, 8)):
        for x in range(-16 + 8 * (n % 2), WIDTH, 18):
            draw.rectangle((x, y, x + 16, y + 6), fill=_colour(rng, base, 8))
    for x in range(40, WIDTH, 330):
        draw.rectangle((x, 40, x + 58, 120), fill=_colour(rng, (160, 156, 130), 25))
        draw.rectangle((x + 8, 52, x + 50, 84), fill=_colour(rng, (100, 116, 146), 30))
    _floor(draw, rng, row, _colour(rng, (104, 104, 108)), 0.25)


def _factory(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    _fill(draw, 0, row, (120, 126, 130), (98, 102, 104))
    for shelf in range(18, row, 46):
        x = 0
        while x < WIDTH:
            width, height = int(rng.uniform(18, 42)), int(rng.uniform(16, 36))
            box = _colour(rng, BOXES[int(rng.integers(len(BOXES)))], 8)
            draw.rectangle((x, shelf + 40 - height, x + width, shelf + 40), fill=box)
            x += width + int(rng.uniform(2, 16))
        draw.rectangle((0, shelf + 40, WIDTH, shelf + 45), fill=(60, 84, 132))
    for x in range(0, WIDTH, 120):
        draw.rectangle((x, 0, x + 6, row), fill=(190, 106, 40))
    _floor(draw, rng, row, _colour(rng, (128, 132, 128)), 0.2)
    draw.rectangle((0, row + 16, WIDTH, row + 22), fill=(204, 172, 48))


def _railing(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    _fill(draw, 0, row, _colour(rng, (172, 176, 172)), _colour(rng, (132, 134, 130)))
    for x in range(0, WIDTH, 190):
        draw.rectangle((x, 0, x + 92, row - 40), fill=_colour(rng, (146, 150, 150), 12))
    for x in range(0, WIDTH, 13):
        draw.rectangle((x, row - 78, x + 2, row), fill=(70, 60, 60))
    for y in (row - 82, row - 8):
        draw.rectangle((0, y, WIDTH, y + 5), fill=(96, 62, 58))
    _floor(draw, rng, row, _colour(rng, (122, 122, 120)), 0.5)


def _platform(draw: ImageDraw.ImageDraw, rng: np.random.Generator, row: int) -> None:
    draw.rectangle((0, 0, WIDTH, row), fill=(196, 198, 196))
    for y in range(0, row, 13):
        for x in range(0, WIDTH, 20):
            draw.rectangle((x, y, x + 18, y + 11), fill=_colour(rng, (216, 218, 214), 4))
    band = _colour(rng, (60, 110, 150), 40)
    draw.rectangle((0, 44, WIDTH, 62), fill=band)
    for x in range(70, WIDTH, 270):
        draw.rectangle((x, 74, x + 90, 140), fill=_colour(rng, (150, 130, 106), 30))
        draw.ellipse((x + 26, 86, x + 62, 122), fill=_colour(rng, (200, 190, 170), 30))
    _floor(draw, rng, row, _colour(rng, (126, 122, 118)), 0.6)
    draw.rectangle((0, row + 22, WIDTH, row + 32), fill=(196, 168, 60))


PLACES: dict[str, Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]] = {
    "corridor": _corridor,
    "street": _street,
    "factory": _factory,
    "park": _park,
    "hall": _hall,
    "railing": _railing,
    "brick": _brick,
    "platform": _platform,
}


def obstacle(rng: np.random.Generator, width: int, height: int) -> Array:
    """Draw an obstacle between the camera and the person.

    Returns:
        ``(height, width, 4)`` float32 in [0, 1]: RGB multiplied by alpha, and alpha.
    """
    w, h = 2 * width, 2 * height
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)
    side = int(rng.integers(0, 2))
    match ("pole", "boxes", "plant", "panel", "barrier", "branches")[
        int(rng.choice(6, p=(0.2, 0.2, 0.2, 0.2, 0.12, 0.08)))
    ]:
        case "pole":
            _pole(draw, rng, int(rng.uniform(0.05, 0.75) * w), int(rng.uniform(0.14, 0.28) * w), h)
        case "panel":
            span = int(rng.uniform(0.3, 0.48) * w)
            _pole(draw, rng, 0 if side else w - span, span, h, rounded=0.15)
        case "boxes":
            _crates(draw, rng, w, h)
        case "plant":
            tall = rng.uniform(0.3, 0.6)
            left = -0.1 * w if side else 0.4 * w
            _leaves(draw, rng, (-0.1 * w, (1 - 0.7 * tall) * h, 1.1 * w, 1.05 * h), 420, w * 0.075)
            _leaves(draw, rng, (left, (1 - tall) * h, left + 0.7 * w, h), 260, w * 0.06)
        case "barrier":
            top = int(rng.uniform(0.5, 0.68) * h)
            colour = _colour(rng, (190, 186, 178), 20)
            draw.rectangle((0, top, w, h), fill=colour)
            draw.rectangle((0, top, w, top + h // 26), fill=_shade(colour, 1.2))
            for x in range(-h, w, w // 3):
                stripe = (
                    (x, top + h // 8),
                    (x + w // 6, top + h // 8),
                    (x + w // 4, top + h // 5),
                    (x + w // 12, top + h // 5),
                )
                draw.polygon(stripe, fill=(186, 62, 48))
        case _:
            _leaves(draw, rng, (-0.1 * w, -0.1 * h, 1.1 * w, rng.uniform(0.1, 0.3) * h), 220, w * 0.065)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], -1)


def _pole(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    left: int,
    span: int,
    height: int,
    rounded: float = 0.5,
) -> None:
    colour = _colour(rng, (120, 118, 114), 16)
    for i in range(span):
        draw.line(
            (left + i, 0, left + i, height),
            fill=_shade(colour, 1 - rounded + rounded * np.sin(np.pi * (i + 1) / span)),
        )


def _crates(draw: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int) -> None:
    top = int(rng.uniform(0.48, 0.72) * h)
    left = int(rng.uniform(-0.3, 0.1) * w)
    while left < w:
        span, y = int(rng.uniform(0.4, 0.75) * w), top + int(rng.uniform(0, 0.12) * h)
        colour = _colour(rng, BOXES[int(rng.integers(len(BOXES)))], 10)
        lid = h // 22
        draw.rectangle((left, y, left + span, h), fill=colour)
        draw.polygon(
            ((left, y), (left + lid, y - lid), (left + span - lid, y - lid), (left + span, y)),
            fill=_shade(colour, 1.25),
        )
        draw.rectangle((left + span // 2 - 3, y, left + span // 2 + 3, h), fill=_shade(colour, 0.85))
        left += span + 2
