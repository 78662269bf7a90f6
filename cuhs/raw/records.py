"""What a raw layout's reader reports about an image, and what labels add to it."""

from dataclasses import dataclass
from typing import Literal

Layout = Literal["market1501", "dukemtmc", "msmt17", "cuhk03", "occluded_reid", "partial_reid", "pattern"]
Split = Literal["train", "query", "gallery"]

DISTRACTOR = 0
JUNK = -1


@dataclass(frozen=True, order=True)
class RawImage:
    """One image file as its publisher's naming describes it.

    Attributes:
        path: the file, relative to the source's folder, with forward slashes.
        pid: identity, unique within the source. Where it is a number, 0 is a distractor and -1 junk
            (Market-1501's convention); text is always somebody, ``"0000"`` too.
        camid: camera, unique within the source, or None where nothing tells: such an image counts as seen by
            a camera of its own, so every other image of the person can match it.
        split: the published role, or None where the publisher gives none.
    """

    path: str
    pid: int | str
    camid: int | str | None
    split: Split | None

    @property
    def is_person(self) -> bool:
        """Whether the image shows an identity: neither junk nor a distractor."""
        return self.pid not in (DISTRACTOR, JUNK)

    @property
    def camera(self) -> int | str:
        """The camera, or the image itself where nothing tells."""
        return self.path if self.camid is None else self.camid


def written(pid: int | str) -> str:
    """An identity as text: numbers have at least four digits (7 and ``"07"`` are ``"0007"``), the rest is itself."""
    text = str(pid)
    return text.lstrip("0").zfill(4) if text.isdecimal() else text


@dataclass(frozen=True)
class Sample:
    """A readable image with the label of its source: what a protocol works on.

    Attributes:
        source: the source dataset's name.
        raw: the image.
        colour: upper-body clothing of the identity: ``black``, ``white`` or ``other``.
        colour_origin: ``label`` or ``classifier``; None where nobody has looked, and the colour is ``other``.
        colour_confidence: the classifier's probability of the colour.
    """

    source: str
    raw: RawImage
    colour: str
    colour_origin: str | None = None
    colour_confidence: float | None = None

    @property
    def pid(self) -> str:
        """Identity over all sources, such as ``market1501/0002``."""
        return f"{self.source}/{written(self.raw.pid)}"

    @property
    def camid(self) -> str:
        """Camera over all sources, such as ``market1501/1``."""
        return f"{self.source}/{self.raw.camera}"

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
        return self.raw.is_person
