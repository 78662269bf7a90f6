"""MSMT17 (Wei et al., CVPR 2018), in version 1 or in version 2 with its blurred faces."""

import re
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.raw.layouts.listing import WrongLayout, held, require_folders
from cuhs.raw.records import RawImage, Split

# Each list file, the folder that its paths are relative to, and the role of its images.
LISTS: tuple[tuple[str, str, Split], ...] = (
    ("list_train.txt", "train", "train"),
    ("list_val.txt", "train", "train"),
    ("list_query.txt", "test", "query"),
    ("list_gallery.txt", "test", "gallery"),
)

# Path of the image, and its label. The name has identity, running number, camera, date and time of day, frame, box.
LINE = re.compile(r"(\d+/\d+_\d+_(\d+)_\S+\.jpe?g) (\d+)")
EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg 0"


def read(root: Path) -> list[RawImage]:
    """List all images that the four lists name, sorted by path. Missing files are noticed when they are read.

    Training and testing identities are both numbered from 0. The pid says which is meant, such as ``train-0005``
    and ``test-0005``, also in label files. ``list_val.txt`` has other images of the training identities and belongs
    to training; the 32,621 training images usually reported for the dataset include it.

    Args:
        root: ``MSMT17_V1``, with ``train`` and ``test`` in it, or ``MSMT17_V2``, with ``mask_train_v2`` and
            ``mask_test_v2``.

    Raises:
        CuhsError: a folder or list is missing, or a line of a list is not as in this layout.
    """
    version_2 = (root / "mask_train_v2").is_dir()
    folders = {part: f"mask_{part}_v2" if version_2 else part for part in ("train", "test")}
    require_folders(root, "msmt17", tuple(folders.values()))
    images = [
        RawImage(f"{folders[part]}/{path}", f"{part}-{int(label):04d}", int(camera), split)
        for name, part, split in LISTS
        for path, camera, label in _lines(root, name)
    ]
    return sorted(images)


def _lines(root: Path, name: str) -> list[tuple[str, str, str]]:
    """Read path, camera and label from each line of a list."""
    if not (root / name).is_file():
        raise WrongLayout(f"{root}: no {name}, which the msmt17 layout expects", held(root))
    try:
        text = (root / name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CuhsError(f"{root / name}: not a text file ({error}); copy it again") from error
    found = []
    for row, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise CuhsError(f"{root / name}, row {row}: {line!r} is not as in the msmt17 layout, such as {EXAMPLE}")
        found.append((match[1], match[2], match[3]))
    if not found:
        raise CuhsError(f"{root / name}: lists no image; copy it again")
    return found
