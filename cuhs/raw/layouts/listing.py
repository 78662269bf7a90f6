"""Listing of image files, and recognition of layouts; shared by the readers."""

import re
from pathlib import Path

from cuhs.errors import CuhsError

# The extensions of `cuhs.images.FORMATS`.
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
    }
)

# Files and folders that only one layout has. DukeMTMC-reID has Market-1501's folders, so its file names decide.
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
        CuhsError: ``root`` or one of ``folders`` is missing; the message names the layout that ``root`` looks like.
    """
    require_root(root, f"the {layout} layout expects {_listed(folders)} in it")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise CuhsError(
            f"{root}: no folder {_listed(tuple(missing))}, which the {layout} layout expects{hint(root, layout)}"
        )


def require_root(root: Path, expected: str) -> None:
    """Check that a source's folder exists.

    Raises:
        CuhsError: it is missing or is not a folder; the message ends with ``expected``.
    """
    if not root.is_dir():
        raise CuhsError(f"{root}: {'not a' if root.exists() else 'no such'} folder; {expected}")


def nothing_found(root: Path, layout: str, folders: tuple[str, ...], example: str) -> CuhsError:
    """Return the error for folders without an image named as in the layout."""
    return CuhsError(
        f"{root}: no image in {_listed(folders)} is named as in the {layout} layout, such as {example}"
        f"{hint(root, layout)}"
    )


def hint(root: Path, layout: str) -> str:
    """Return the end of an error about ``root``: the layout that it looks like, or what it holds."""
    guess = looks_like(root)
    if guess in (None, layout):
        return f"; it holds {_first_entries(root)}"
    return f"; the folder looks like layout: {guess}"


def looks_like(root: Path) -> str | None:
    """Return the layout whose typical file or folder is in ``root``, or None."""
    for typical, layout in _TYPICAL:
        if next(root.glob(typical), None):
            return layout
    return None


def _listed(folders: tuple[str, ...]) -> str:
    return ", ".join(f"{folder}/" for folder in folders)


def _first_entries(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    return (", ".join(names[:3]) + (", …" if len(names) > 3 else "")) or "nothing"
