"""Listing image files, and telling layouts apart; shared by the readers."""

import re
from pathlib import Path

from cuhs.errors import CuhsError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})


def image_files(folder: Path) -> list[Path]:
    """Image files directly in ``folder``, told by their extension in any case, sorted by name.

    Publishers' clutter (``Thumbs.db``, ``Readme.txt``, ``.mat``) and hidden files are passed over; a dangling
    link is listed, so that it is noticed when it is read.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )


def named_images(root: Path, folder: Path, name: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
    """Images of ``folder`` whose stem is ``name``: their paths relative to ``root``, and the matches."""
    found = []
    for path in image_files(folder):
        match = name.fullmatch(path.stem)
        if match:
            found.append((path.relative_to(root).as_posix(), match))
    return found


def require_folders(root: Path, layout: str, folders: tuple[str, ...]) -> None:
    """Check that the folders of a layout are there.

    Raises:
        CuhsError: ``root`` or one of ``folders`` is missing; names the layout that ``root`` looks like.
    """
    if not root.is_dir():
        raise CuhsError(f"{root}: no such folder; the {layout} layout expects {_listed(folders)} in it")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise CuhsError(
            f"{root}: no folder {_listed(tuple(missing))}, which the {layout} layout expects{_guess(root, layout)}"
        )


def nothing_found(root: Path, layout: str, folders: tuple[str, ...], example: str) -> CuhsError:
    """The error for folders that hold no image named as the layout has it."""
    return CuhsError(
        f"{root}: no image in {_listed(folders)} is named as in the {layout} layout, such as {example}"
        f"{_guess(root, layout)}"
    )


def _listed(folders: tuple[str, ...]) -> str:
    return ", ".join(f"{folder}/" for folder in folders)


def _guess(root: Path, layout: str) -> str:
    guess = looks_like(root)
    if guess in (None, layout):
        return f"; it holds {_first_entries(root)}"
    return f"; the folder looks like layout: {guess}"


def looks_like(root: Path) -> str | None:
    """The layout whose typical folder is in ``root``, or None."""
    for folder, layout in (
        ("bounding_box_train", "market1501"),
        ("bounding_box_test", "market1501"),
        ("images_labeled", "cuhk03"),
        ("images_detected", "cuhk03"),
        ("partial_body_images", "partial_reid"),
        ("occluded_body_images", "occluded_reid"),
    ):
        if (root / folder).is_dir():
            return layout
    return None


def _first_entries(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    return (", ".join(names[:3]) + (", …" if len(names) > 3 else "")) or "nothing"
