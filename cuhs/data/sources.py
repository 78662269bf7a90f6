"""A raw dataset on disk and what its file names and annotation files say."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cuhs.data.clothing import read_colours
from cuhs.data.head_shoulder_boxes import PixelBoxes, read_boxes
from cuhs.data.layouts import cuhk03, market1501, occluded_reid, partial_reid
from cuhs.data.layouts.listing import image_files
from cuhs.data.records import RawImage
from cuhs.errors import CuhsError

Layout = Literal["market1501", "cuhk03", "occluded_reid", "partial_reid"]


@dataclass(frozen=True)
class SourceFiles:
    """A raw dataset on disk.

    Attributes:
        layout: the reader to take.
        folder: the publisher's folder.
        images: which of CUHK03's boxes.
        split: CUHK03's split file.
        clothing: CSV of ``pid,colour``; identities without a row are ``other``.
        boxes: CSV of ``file,x1,y1,x2,y2``; images without a row have no box.
    """

    layout: Layout
    folder: Path
    images: Literal["labeled", "detected"] = "labeled"
    split: Path | None = None
    clothing: Path | None = None
    boxes: Path | None = None


@dataclass(frozen=True)
class Listed:
    """A source as its names and annotation files describe it, before any image is opened.

    Attributes:
        images: the images whose names follow the layout, sorted by path.
        colours: identity → clothing colour, where labelled.
        boxes: the annotated head-shoulder boxes.
        strays: images beside them whose names do not follow the layout, as printable text.
    """

    images: list[RawImage]
    colours: dict[int, str]
    boxes: PixelBoxes
    strays: list[str]

    @property
    def unlabelled(self) -> int:
        """Number of identities without a clothing label."""
        return len({image.pid for image in self.images if image.pid > 0} - self.colours.keys())


def list_source(source: str, files: SourceFiles) -> Listed:
    """Read the names of a source's images, and its annotation files.

    Raises:
        CuhsError: the source's name cannot be part of a file name, a folder or file is missing, an annotation
            is wrong, or a split file is given for a layout that takes none.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", source):
        raise CuhsError(f"data.sources: {source!r} is no name for a source; take letters, digits, - and _")
    images = _read_layout(source, files)
    known = {image.pid for image in images if image.pid > 0}
    listed = {image.path for image in images}
    folders = sorted({(files.folder / path).parent for path in listed})
    paths = [path.relative_to(files.folder).as_posix() for folder in folders for path in image_files(folder)]
    return Listed(
        images,
        read_colours(files.clothing, known) if files.clothing else {},
        read_boxes(files.boxes, listed) if files.boxes else PixelBoxes(),
        [_printable(path) for path in paths if path not in listed],
    )


def _read_layout(source: str, files: SourceFiles) -> list[RawImage]:
    match files.layout:
        case "cuhk03":
            return cuhk03.read(files.folder, files.images, files.split)
        case _ if files.split:
            raise CuhsError(f"data.sources.{source}.split: only the cuhk03 layout takes a split file; remove it")
        case "market1501":
            return market1501.read(files.folder)
        case "occluded_reid":
            return occluded_reid.read(files.folder)
        case "partial_reid":
            return partial_reid.read(files.folder)


def _printable(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes the file system holds."""
    return path.encode("utf-8", "backslashreplace").decode()
