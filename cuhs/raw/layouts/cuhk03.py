"""CUHK03 (Li et al., CVPR 2014), as released or as extracted image folders, with either published split."""

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import h5py
import numpy as np

from cuhs.errors import CuhsError
from cuhs.raw.layouts import cuhk03_mat, matlab
from cuhs.raw.layouts.cuhk03_mat import Boxes
from cuhs.raw.layouts.listing import entries, nothing_found, require_folders
from cuhs.raw.records import RawImage, Split

# Number of identities in each of the five camera pairs. Numbered consecutively in this order they are the ``labels``
# of CUHK03-NP: identity i of pair 1 is i, of pair 2 it is 843 + i, and so on.
PAIR_SIZES = (843, 440, 77, 58, 49)

NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})")


def read(root: Path, images: Boxes = "labeled", split_file: Path | None = None) -> list[RawImage]:
    """List the images of ``images_labeled`` or ``images_detected``, sorted by path.

    If ``root`` has no such folder but has ``cuhk-03.mat``, list the images in that file, under the paths that the
    usual extraction gives them. pid numbers identities through all pairs (see :data:`PAIR_SIZES`);
    camid is ``2 * (pair - 1) + view``.

    Args:
        root: folder with ``images_labeled`` or ``images_detected``, or with ``cuhk-03.mat``.
        images: whether boxes were drawn by hand (``labeled``) or found by a detector (``detected``).
        split_file: ``cuhk03_new_protocol_config_*.mat`` of CUHK03-NP (Zhong et al., CVPR 2017), or a MATLAB
            file with the classic protocol's ``testsets``, such as ``cuhk-03.mat``. Of these the first split is
            used: view 1 of the test identities is query and view 2 gallery, and all other identities train.
            Without a file, images have no published role.

    Raises:
        CuhsError: the folder is missing or holds no image of this layout, or the split file is missing,
            unreadable, does not cover the images, or gives none of them the role of
            training, query or gallery.
    """
    folder = f"images_{images}"
    mat = original(root, images)
    if mat:
        paths = cuhk03_mat.paths(mat, images)
    else:
        require_folders(root, "cuhk03", (folder,))
        paths = [f"{folder}/{file.name}" for file in entries(root / folder)[1]]
    named = ((path, NAME.fullmatch(PurePosixPath(path).stem)) for path in paths)
    found = [(path, match) for path, match in named if match and 1 <= int(match[2]) <= PAIR_SIZES[int(match[1]) - 1]]
    if not found:
        raise nothing_found(root, "cuhk03", (folder,), "1_001_1_01.png")
    roles = _roles(split_file, [match for _, match in found]) if split_file else {}
    if split_file:
        counts = Counter(roles.get(match[0]) for _, match in found)
        if empty := [role for role in get_args(Split) if not counts[role]]:
            given = ", ".join(f"{counts[role]:,} {role}" for role in get_args(Split))
            raise CuhsError(
                f"{split_file}: gives no image of {root / folder} the role {empty[0]} ({given}); copy all of them"
            )
    return sorted(
        RawImage(path, _pid(match), 2 * (int(match[1]) - 1) + int(match[3]), roles.get(match[0]))
        for path, match in found
    )


def original(root: Path, images: Boxes) -> Path | None:
    """Return ``cuhk-03.mat`` if ``root`` holds it and has no folder of these images."""
    mat = root / cuhk03_mat.FILE
    return mat if not (root / f"images_{images}").is_dir() and mat.is_file() else None


def _pid(match: re.Match[str]) -> int:
    return sum(PAIR_SIZES[: int(match[1]) - 1]) + int(match[2])


def _roles(path: Path, names: list[re.Match[str]]) -> dict[str, Split]:
    """Read the role of every name (without extension) from the split file at ``path``."""
    if h5py.is_hdf5(path):
        return _classic(cuhk03_mat.first_test_set(path), path, names)
    mat = matlab.load(path, "split file")
    if "filelist" in mat:
        return _new_protocol(mat, path, names)
    if "testsets" in mat:
        sets = mat["testsets"]
        return _classic(np.ravel(sets)[0] if sets.dtype == object and sets.size else sets, path, names)
    raise CuhsError(f"{path}: neither filelist (CUHK03-NP) nor testsets (classic protocol) is in it")


def _new_protocol(mat: dict[str, Any], path: Path, names: list[re.Match[str]]) -> dict[str, Split]:
    # The file lists .png, but extractions also come as .jpg: compare names without the extension.
    listed = [str(np.ravel(cell)[0]).rpartition(".")[0] for cell in np.ravel(mat["filelist"])]
    roles: dict[str, Split] = {}
    keys: dict[str, Split] = {"train_idx": "train", "query_idx": "query", "gallery_idx": "gallery"}
    for key, split in keys.items():
        if key not in mat:
            raise CuhsError(f"{path}: has filelist but no {key}; it is not a CUHK03-NP split")
        for index in np.ravel(mat[key]).astype(int):
            if not 1 <= index <= len(listed):
                raise CuhsError(f"{path}: {key} has {index}, but filelist has {len(listed)} names")
            roles[listed[index - 1]] = split
    unlisted = [name[0] for name in names if name[0] not in roles]
    if unlisted:
        raise CuhsError(
            f"{path}: {len(unlisted)} of {len(names)} images are not in this split, such as {unlisted[0]}; "
            "use the split file made for these images (labeled or detected)"
        )
    return roles


def _classic(rows: np.ndarray, path: Path, names: list[re.Match[str]]) -> dict[str, Split]:
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.shape[0] == 0:
        raise CuhsError(f"{path}: testsets must hold tables of two columns, pair and identity")
    test = {(int(pair), int(identity)) for pair, identity in rows}

    def role(name: re.Match[str]) -> Split:
        if (int(name[1]), int(name[2])) not in test:
            return "train"
        return "query" if name[3] == "1" else "gallery"

    return {name[0]: role(name) for name in names}
