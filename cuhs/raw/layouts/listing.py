"""Listing of image files, and what is said if some are missing; shared by the readers."""

import re
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path

from cuhs.errors import CuhsError

# The extensions of `cuhs.images.FORMATS`.
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
    }
)


class WrongLayout(CuhsError):
    """A folder is not of the layout that a source names.

    Attributes:
        problem: what is missing. The message goes on with ``rest``, unless another layout can read the folder.
    """

    def __init__(self, problem: str, rest: str) -> None:
        super().__init__(f"{problem}; {rest}")
        self.problem = problem


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """List folders and image files directly in ``folder``, sorted by name, without hidden ones.

    Images are recognised by their extension in any case, so publishers' other files (``Thumbs.db``,
    ``Readme.txt``, ``.mat``) are skipped. A dangling link is listed, so that reading it reports it.
    """
    folders, images = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
    return folders, images


def image_tree(folder: Path) -> list[Path]:
    """List image files in ``folder`` and in all folders below it, following links, sorted by folder.

    Raises:
        CuhsError: a link leads to a folder that contains it.
    """
    return _image_tree(folder, frozenset())


def _image_tree(folder: Path, above: frozenset[Path]) -> list[Path]:
    here = folder.resolve()
    if here in above:
        raise CuhsError(f"{folder}: a link to a folder that holds it; remove the link")
    folders, images = entries(folder)
    return images + [image for inner in folders for image in _image_tree(inner, above | {here})]


def named_images(root: Path, folder: Path, name: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
    """Find the images of ``folder`` whose stem matches ``name``: paths relative to ``root``, and the matches."""
    found = []
    for path in entries(folder)[1]:
        match = name.fullmatch(path.stem)
        if match:
            found.append((path.relative_to(root).as_posix(), match))
    return found


def require_folders(root: Path, layout: str, folders: tuple[str, ...]) -> None:
    """Check that the folders of a layout exist.

    Raises:
        CuhsError: ``root`` or one of ``folders`` is missing; the message says what ``root`` holds.
    """
    require_root(root, f"the {layout} layout expects {_listed(folders)} in it")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise WrongLayout(
            f"{root}: no folder {_listed(tuple(missing))}, which the {layout} layout expects", held(root)
        )


def require_root(root: Path, expected: str) -> None:
    """Check that a source's folder exists.

    Raises:
        CuhsError: it is missing or is not a folder; the message ends with ``expected``.
    """
    if not root.is_dir():
        raise CuhsError(f"{root}: {'not a' if root.exists() else 'no such'} folder; {expected}")


def nothing_found(root: Path, layout: str, folders: Iterable[str], example: str) -> WrongLayout:
    """Return the error for folders without an image named as in the layout."""
    return WrongLayout(
        f"{root}: no image in {_listed(folders)} is named as in the {layout} layout, such as {example}", held(root)
    )


def require_images(root: Path, layout: str, found: Mapping[str, Sized], example: str) -> None:
    """Check that images were found in every part of a layout.

    Args:
        root: the source's folder.
        layout: name of the layout.
        found: the images of each part by its folder, relative to ``root``.
        example: file name of this layout.

    Raises:
        CuhsError: a part has none; the message names its folder, and how many images each part has.
    """
    empty = [folder for folder, images in found.items() if not len(images)]
    if len(empty) == len(found):
        raise nothing_found(root, layout, found, example)
    if empty:
        counts = ", ".join(f"{len(images):,} in {folder}/" for folder, images in found.items())
        raise CuhsError(
            f"{root / empty[0]}: no image is named as in the {layout} layout, such as {example} ({counts})"
            f"{_below(root / empty[0])}"
        )


def held(root: Path) -> str:
    """Return the end of an error about ``root`` that says what it holds."""
    names = sorted(path.name for path in root.iterdir())
    return "it holds " + ((", ".join(names[:3]) + (", …" if len(names) > 3 else "")) or "nothing")


def _below(folder: Path) -> str:
    """Return the end of an error about a folder whose images lie in folders below it."""
    if not (below := image_tree(folder)) or not entries(folder)[0]:
        return ""
    return f"; {len(below):,} images lie in folders below it: move them up, or use layout: pattern"


def _listed(folders: Iterable[str]) -> str:
    return ", ".join(f"{folder}/" for folder in folders)
