"""What a raw layout's reader reports about an image, and what labels add to it."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "query", "gallery"]

DISTRACTOR = 0
JUNK = -1


@dataclass(frozen=True, order=True)
class RawImage:
    """One image file as its publisher's naming describes it.

    Attributes:
        path: the file, relative to the source's folder, with forward slashes.
        pid: identity, unique within the source; 0 is a distractor and -1 junk (Market-1501's convention).
        camid: camera, unique within the source.
        split: the published role, or None where the publisher gives none.
    """

    path: str
    pid: int
    camid: int
    split: Split | None


@dataclass(frozen=True)
class Sample:
    """A readable image with the label of its source: what a protocol works on.

    Attributes:
        source: the source dataset's name.
        raw: the image.
        colour: upper-body clothing of the identity: ``black``, ``white`` or ``other``.
    """

    source: str
    raw: RawImage
    colour: str

    @property
    def pid(self) -> str:
        """Identity over all sources, such as ``market1501/0002``."""
        return f"{self.source}/{self.raw.pid:04d}" if self.raw.pid >= 0 else f"{self.source}/{self.raw.pid}"

    @property
    def camid(self) -> str:
        """Camera over all sources, such as ``market1501/1``."""
        return f"{self.source}/{self.raw.camid}"

    @property
    def junk(self) -> bool:
        """Whether ranking ignores the image."""
        return self.raw.pid == JUNK

    @property
    def distractor(self) -> bool:
        """Whether the image shows nobody that is ever asked for."""
        return self.raw.pid == DISTRACTOR

    @property
    def is_person(self) -> bool:
        """Whether the image shows an identity: neither junk nor a distractor."""
        return self.raw.pid > 0
