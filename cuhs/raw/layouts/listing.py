"""Listing image files, and telling layouts apart; shared by the readers."""

import re
from pathlib import Path

from cuhs.errors import CuhsError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})

# What only this layout's folder holds. DukeMTMC-reID has Market-1501's folders: the names tell it.
_TYPICAL = (
    ("bounding_box_*/*_c[0-9]_f[0-9]*", "dukemtmc"),
    ("bounding_box_*", "market1501"),
    ("list_gallery.txt", "msmt17"),
    ("mask_train_v2", "msmt17"),
    ("images_labeled", "cuhk03"),
    ("images_detected", "cuhk03"),
    ("cuhk-03.mat", "cuhk03"),
    ("partial_body_images", "partial_reid"),
    ("occluded_body_images", "occluded_reid"),
)


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and image files directly in ``folder``, sorted by name; hidden ones are passed over.

    Images are told by their extension in any case, so publishers' clutter (``Thumbs.db``, ``Readme.txt``,
    ``.mat``) is passed over. A dangling link is listed, so that it is noticed when it is read.
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
    """Image files in ``folder`` and in all folders below it, linked ones too, sorted by folder.

    Raises:
        CuhsError: a link leads back to a folder that holds it.
    """
    return _image_tree(folder, frozenset())


def _image_tree(folder: Path, above: frozenset[Path]) -> list[Path]:
    here = folder.resolve()
    if here in above:
        raise CuhsError(f"{folder}: a link to a folder that holds it; remove the link")
    folders, images = entries(folder)
    return images + [image for inner in folders for image in _image_tree(inner, above | {here})]


def named_images(root: Path, folder: Path, name: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
    """Images of ``folder`` whose stem is ``name``: their paths relative to ``root``, and the matches."""
    found = []
    for path in entries(folder)[1]:
        match = name.fullmatch(path.stem)
        if match:
            found.append((path.relative_to(root).as_posix(), match))
    return found


def require_folders(root: Path, layout: str, folders: tuple[str, ...]) -> None:
    """Check that the folders of a layout are there.

    Raises:
        CuhsError: ``root`` or one of ``folders`` is missing; names the layout that ``root`` looks like.
    """
    require_root(root, f"the {layout} layout expects {_listed(folders)} in it")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise CuhsError(
            f"{root}: no folder {_listed(tuple(missing))}, which the {layout} layout expects{hint(root, layout)}"
        )


def require_root(root: Path, expected: str) -> None:
    """Check that a source's folder is there.

    Raises:
        CuhsError: it is missing or no folder; says what is ``expected``.
    """
    if not root.is_dir():
        raise CuhsError(f"{root}: {'not a' if root.exists() else 'no such'} folder; {expected}")


def nothing_found(root: Path, layout: str, folders: tuple[str, ...], example: str) -> CuhsError:
    """The error for folders that hold no image named as the layout has it."""
    return CuhsError(
        f"{root}: no image in {_listed(folders)} is named as in the {layout} layout, such as {example}"
        f"{hint(root, layout)}"
    )


def hint(root: Path, layout: str) -> str:
    """The end of an error about ``root``: the layout that it looks like, or what it holds."""
    guess = looks_like(root)
    if guess in (None, layout):
        return f"; it holds {_first_entries(root)}"
    return f"; the folder looks like layout: {guess}"


def looks_like(root: Path) -> str | None:
    """The layout whose typical file or folder is in ``root``, or None."""
    for typical, layout in _TYPICAL:
        if next(root.glob(typical), None):
            return layout
    return None


def _listed(folders: tuple[str, ...]) -> str:
    return ", ".join(f"{folder}/" for folder in folders)


def _first_entries(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    return (", ".join(names[:3]) + (", …" if len(names) > 3 else "")) or "nothing"
