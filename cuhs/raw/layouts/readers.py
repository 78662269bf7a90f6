"""Reads a source with the reader of its layout, and says which other layout a folder is of."""

from collections.abc import Callable
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.layouts import cuhk03, dukemtmc, market1501, msmt17, occluded_reid, partial_reid, pattern
from cuhs.raw.layouts.listing import WrongLayout, entries
from cuhs.raw.records import RawImage

Reader = Callable[[Path], list[RawImage]]

# What to write in the configuration, and what then reads a folder. Partial-REID also has Occluded-REID's folders.
PUBLISHED: tuple[tuple[str, Reader], ...] = (
    ("dukemtmc", dukemtmc.read),
    ("market1501", market1501.read),
    ("msmt17", msmt17.read),
    ("cuhk03", cuhk03.read),
    ("cuhk03 with images: detected", lambda root: cuhk03.read(root, "detected")),
    ("partial_reid", partial_reid.read),
    ("occluded_reid", occluded_reid.read),
)


def read(source: str, files: Source) -> list[RawImage]:
    """List the images of a source, sorted by path.

    Raises:
        CuhsError: the folder is not of this layout, and the message names the layout that can read it, or the folder
            in it that is of this layout, if there is one; a part is empty; or a key belongs to another layout.
        OSError: a folder cannot be listed.
    """
    if files.split and files.layout != "cuhk03":
        raise CuhsError(f"data.sources.{source}.split: only the cuhk03 layout takes a split file; remove it")
    if files.pattern and files.layout != "pattern":
        raise CuhsError(f"data.sources.{source}.pattern: only the pattern layout takes a pattern; remove it")
    if files.layout == "pattern" and not files.pattern:
        raise CuhsError(f"data.sources.{source}.pattern: missing; give a regular expression for the paths")
    try:
        return _read(files)
    except WrongLayout as error:
        if guess := looks_like(files.folder):
            raise CuhsError(f"{error.problem}; the folder looks like layout: {guess}") from error
        if inner := _one_deeper(files):
            raise CuhsError(f"{error.problem}; {inner} is of this layout: give it as the folder") from error
        raise


def looks_like(root: Path) -> str | None:
    """Return the published layout that finds images in all parts of ``root``, with their number; or None."""
    for layout, reader in PUBLISHED:
        try:
            return f"{layout} ({len(reader(root)):,} images)"
        except (CuhsError, OSError):
            continue
    return None


def _read(files: Source) -> list[RawImage]:
    match files.layout:
        case "pattern":
            return pattern.read(files.folder, files.pattern or "")
        case "cuhk03":
            return cuhk03.read(files.folder, files.images, files.split)
        case layout:
            return dict(PUBLISHED)[layout](files.folder)


def _one_deeper(files: Source) -> Path | None:
    """Return the first folder in the source's folder that is of its layout: archives often hold one of their own."""
    for inner in entries(files.folder)[0] if files.layout != "pattern" else ():
        try:
            _read(files.model_copy(update={"folder": inner}))
            return inner
        except (CuhsError, OSError):
            continue
    return None
