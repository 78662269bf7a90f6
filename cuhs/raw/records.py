"""Images as the readers of raw layouts report them, and with their labels."""

import unicodedata
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
        path: path of the file, relative to the source's folder, with forward slashes.
        pid: identity, unique within the source. As a number, 0 is a distractor and -1 junk (Market-1501's
            convention); text is always a person, even ``"0000"``.
        camid: camera, unique within the source, or None if unknown. Such an image counts as seen by a camera of
            its own, so every other image of the person can match it.
        split: published role, or None if the publisher gives none.
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
        """The camera, or the image itself if the camera is unknown."""
        return self.path if self.camid is None else self.camid


def written(pid: int | str) -> str:
    """Write an identity as text: numbers get at least four digits (7 and ``"07"`` are ``"0007"``)."""
    text = composed(str(pid))
    return text.lstrip("0").zfill(4) if text.isdecimal() else text


def composed(text: str) -> str:
    """Write letters with accents as one character each (NFC): macOS splits them in file names, editors do not."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Sample:
    """A usable image with the label of its identity, the input of a protocol.

    Attributes:
        source: name of the source dataset.
        raw: the image.
        colour: upper-body clothing of the identity: ``black``, ``white`` or ``other``.
        colour_origin: ``label`` or ``classifier``; None if there is neither, and the colour is ``other``.
        colour_confidence: the classifier's probability of the colour.
    """

    source: str
    raw: RawImage
    colour: str
    colour_origin: str | None = None
    colour_confidence: float | None = None

    @property
    def pid(self) -> str:
        """Identity, unique over all sources, such as ``market1501/0002``."""
        return f"{self.source}/{written(self.raw.pid)}"

    @property
    def camid(self) -> str:
        """Camera, unique over all sources, such as ``market1501/1``."""
        return f"{self.source}/{self.raw.camera}"

    @property
    def junk(self) -> bool:
        """Whether ranking ignores the image."""
        return self.raw.pid == JUNK

    @property
    def distractor(self) -> bool:
        """Whether the image is a distractor, which no query has as its identity."""
        return self.raw.pid == DISTRACTOR

    @property
    def is_person(self) -> bool:
        """Whether the image shows an identity: neither junk nor a distractor."""
        return self.raw.is_person
