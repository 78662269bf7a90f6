"""Thumbnails of images for the dataset's page, with their head-shoulder boxes drawn."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from PIL import Image, ImageDraw

from cuhs.build.decode import Key
from cuhs.build.leaks import Pair
from cuhs.build.splits import Row
from cuhs.images import load
from cuhs.raw.head_shoulder_boxes import Box

PEOPLE = 24
PAIRS = 24

TILE = (96, 208)  # largest width and height in pixels
BOX_COLOUR = "#ff6b1a"


@dataclass(frozen=True)
class Tile:
    """One image on the page.

    Attributes:
        jpeg: the picture as base64.
        pid: the identity.
        name: source and path.
    """

    jpeg: str
    pid: str
    name: str


@dataclass(frozen=True)
class Photographer:
    """Makes tiles from a dataset's rows.

    Attributes:
        read: returns the bytes of a row's image file.
        boxes: head-shoulder boxes in [0, 1].
    """

    read: Callable[[Row], bytes]
    boxes: Mapping[Key, Box]

    def sheet(self, rows: Iterable[Row]) -> list[Tile]:
        """Return the first image of each of up to :data:`PEOPLE` identities, spread evenly over the rows."""
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row.sample.pid, row)
        people = list(first.values())
        count = min(PEOPLE, len(people))
        return [self.tile(people[number * len(people) // count]) for number in range(count)]

    def pairs(self, pairs: list[Pair]) -> list[tuple[Tile, Tile, int]]:
        """Return training image, testing image and differing bits of the first :data:`PAIRS` pairs."""
        return [(self.tile(pair.train), self.tile(pair.test), pair.bits) for pair in pairs[:PAIRS]]

    def tile(self, row: Row) -> Tile:
        """Return a row's image, at most :data:`TILE` pixels in size."""
        image = Image.fromarray(load(self.read(row)).pixels)
        image.thumbnail(TILE, Image.Resampling.LANCZOS)
        if box := self.boxes.get(row.key):
            right, bottom = image.width - 1, image.height - 1
            corners = (box[0] * right, box[1] * bottom, box[2] * right, box[3] * bottom)
            ImageDraw.Draw(image).rectangle(corners, outline=BOX_COLOUR, width=2)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return Tile(base64.b64encode(buffer.getvalue()).decode(), row.sample.pid, row.name)
