"""Reading of raw datasets: file names and annotation files."""

import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import RawBoxes, read_boxes
from cuhs.raw.keypoints import read_coco_boxes, read_market_boxes
from cuhs.raw.labels import read_attributes, read_colours
from cuhs.raw.layouts import cuhk03, cuhk03_mat, readers
from cuhs.raw.layouts.listing import entries, image_tree
from cuhs.raw.records import JUNK, Layout, RawImage, written

# Layouts whose identities have published attributes, and the variable that holds them.
ATTRIBUTES: dict[Layout, str] = {"market1501": "market_attribute", "dukemtmc": "duke_attribute"}


# No photograph of a person has more bytes.
LARGEST = 512 * 2**20


@dataclass(frozen=True)
class Listed:
    """File names and annotations of a source, before any image is opened.

    Attributes:
        images: images whose names follow the layout, sorted by path.
        colours: identity → clothing colour, where labelled.
        boxes: head-shoulder boxes, annotated or from key points.
        strays: other image files in the same folders, whose names do not follow the layout, as printable text.
    """

    images: list[RawImage]
    colours: dict[int | str, str]
    boxes: RawBoxes
    strays: list[str]

    @property
    def unlabelled(self) -> int:
        """Number of identities without a clothing label."""
        return len({image.pid for image in self.images if image.is_person} - self.colours.keys())


def list_source(source: str, files: Source) -> Listed:
    """Read the names of a source's images, and its annotation files.

    Raises:
        CuhsError: the source's name cannot be part of a file name, a folder or file is missing or unreadable, an
            annotation is wrong, or a key is given that belongs to another layout.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", source):
        raise CuhsError(f"data.sources: {source!r} is no name for a source; use letters, digits, - and _")
    try:
        images = [image for image in readers.read(source, files) if printable(image.path) == image.path]
        if files.pids_per_split and files.layout != "msmt17":  # whose reader tells them apart
            if not any(image.split for image in images):
                raise CuhsError(
                    f"data.sources.{source}.pids_per_split: no image has a published role; remove the key, or give a "
                    "pattern with the group (?P<split>…)"
                )
            images = [_apart(image) for image in images]
        listed = {image.path for image in images}
        strays = [printable(path) for path in _beside(files, listed) if path not in listed]
    except OSError as error:
        raise CuhsError(f"{error.filename or files.folder}: cannot be listed ({error.strerror or error})") from error
    known = {image.pid for image in images if image.is_person}
    return Listed(
        images,
        _read_clothing(source, files.layout, files.clothing, known) if files.clothing else {},
        _read_boxes(source, files, listed),
        strays,
    )


def raw_bytes(files: Source, path: str) -> bytes:
    """Read the bytes of a source's image file; an image in ``cuhk-03.mat`` is encoded as PNG.

    Several threads and processes may call this at the same time.

    Args:
        files: the source.
        path: path as in :class:`cuhs.raw.records.RawImage`.

    Raises:
        OSError: the file or image is missing, is a folder or device, is larger than :data:`LARGEST` bytes, or cannot
            be read.
    """
    if files.layout == "cuhk03" and (mat := cuhk03.original(files.folder, files.images)):
        return cuhk03_mat.image_bytes(mat, path)
    file = files.folder / path
    found = file.stat()
    # A pipe or device would be read for ever.
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file")
    if found.st_size > LARGEST:
        raise OSError(f"{path} has more than {LARGEST // 2**20} MiB")
    return file.read_bytes()


def printable(path: str) -> str:
    """Make a path that can be written as UTF-8, whatever bytes the file system holds."""
    return path.encode("utf-8", "backslashreplace").decode()


def _apart(image: RawImage) -> RawImage:
    """The image with an identity that says whether it trains or tests; junk stays junk."""
    if image.pid == JUNK or image.split is None:
        return image
    part = "train" if image.split == "train" else "test"
    return replace(image, pid=f"{part}-{written(image.pid)}")


def _beside(files: Source, listed: set[str]) -> list[str]:
    """List all image files in the folders that the layout reads, whatever their names."""
    if files.layout == "pattern":
        found = image_tree(files.folder)
    else:
        folders = sorted({(files.folder / path).parent for path in listed})
        found = [path for folder in folders if folder.is_dir() for path in entries(folder)[1]]
    return [path.relative_to(files.folder).as_posix() for path in found]


def _read_boxes(source: str, files: Source, listed: set[str]) -> RawBoxes:
    boxes = read_boxes(files.boxes, listed) if files.boxes else RawBoxes()
    if files.keypoints is None:
        return boxes
    if files.keypoints.suffix.lower() == ".json":
        return boxes.with_estimates(read_coco_boxes(files.keypoints, listed))
    if files.layout != "market1501":
        raise CuhsError(
            f"data.sources.{source}.keypoints: 14 points are published for market1501 only; give a .json file in "
            "COCO's person_keypoints form"
        )
    return boxes.with_estimates(read_market_boxes(files.keypoints, listed))


def _read_clothing(source: str, layout: Layout, path: Path, known: set[int | str]) -> dict[int | str, str]:
    if path.suffix.lower() != ".mat":
        return read_colours(path, known)
    if layout not in ATTRIBUTES:
        raise CuhsError(
            f"data.sources.{source}.clothing: attributes are published for {' and '.join(ATTRIBUTES)}, not for "
            f"{layout}; give a CSV of pid,colour"
        )
    return read_attributes(path, ATTRIBUTES[layout], known)
