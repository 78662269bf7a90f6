"""CUHK03 (Li et al., CVPR 2014) as extracted image folders, with either published split."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io

from cuhs.data.layouts.listing import named_images, nothing_found, require_folders
from cuhs.data.records import RawImage, Split
from cuhs.errors import CuhsError

# Identities in each of the five camera pairs. Numbered through in this order they are the ``labels`` of
# CUHK03-NP: identity i of pair 1 is i, of pair 2 it is 843 + i, and so on.
PAIR_SIZES = (843, 440, 77, 58, 49)

NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})")


def read(
    root: Path, images: Literal["labeled", "detected"] = "labeled", split_file: Path | None = None
) -> list[RawImage]:
    """Images of ``images_labeled`` or ``images_detected``, sorted by path.

    pid numbers identities through all pairs (see :data:`PAIR_SIZES`); camid is ``2 * (pair - 1) + view``.

    Args:
        root: the folder that holds ``images_labeled`` or ``images_detected``.
        images: boxes drawn by hand or found by a detector.
        split_file: ``cuhk03_new_protocol_config_*.mat`` of CUHK03-NP (Zhong et al., CVPR 2017), or a MATLAB
            file (version 7 or older) with the classic protocol's ``testsets``, whose first split is taken:
            test identities' view 1 is query and view 2 gallery, the others train. None leaves roles open.

    Raises:
        CuhsError: the folder is missing or holds no image of this layout, or the split file is missing,
            unreadable, or does not cover the images.
    """
    folder = f"images_{images}"
    require_folders(root, "cuhk03", (folder,))
    found = [
        (path, match)
        for path, match in named_images(root, root / folder, NAME)
        if 1 <= int(match[2]) <= PAIR_SIZES[int(match[1]) - 1]
    ]
    if not found:
        raise nothing_found(root, "cuhk03", (folder,), "1_001_1_01.png")
    roles = _roles(split_file, [match for _, match in found]) if split_file else {}
    return sorted(
        RawImage(path, _pid(match), 2 * (int(match[1]) - 1) + int(match[3]), roles.get(match[0]))
        for path, match in found
    )


def _pid(match: re.Match[str]) -> int:
    return sum(PAIR_SIZES[: int(match[1]) - 1]) + int(match[2])


def _roles(path: Path, names: list[re.Match[str]]) -> dict[str, Split]:
    """The role of every name (without extension) by the split file at ``path``."""
    mat = _load(path)
    if "filelist" in mat:
        roles = _new_protocol(mat, path)
    elif "testsets" in mat:
        test = _first_test_set(mat, path)
        roles = {name[0]: _classic_role(name, test) for name in names}
    else:
        raise CuhsError(f"{path}: neither filelist (CUHK03-NP) nor testsets (classic protocol) is in it")
    unlisted = [name[0] for name in names if name[0] not in roles]
    if unlisted:
        raise CuhsError(
            f"{path}: {len(unlisted)} of {len(names)} images are not in this split, such as {unlisted[0]}; "
            "take the split file made for these images (labeled or detected)"
        )
    return roles


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CuhsError(f"{path}: no such split file")
    try:
        return scipy.io.loadmat(path, appendmat=False)
    except NotImplementedError as error:
        raise CuhsError(
            f"{path}: MATLAB 7.3 (HDF5) is not read; save its testsets with `save -v7`, or take the CUHK03-NP split"
        ) from error
    except Exception as error:  # scipy's readers raise whatever a broken file leads them to
        reason = " ".join(str(error).split())
        raise CuhsError(f"{path}: not a readable MATLAB file ({reason}); copy it again") from error


def _new_protocol(mat: dict[str, Any], path: Path) -> dict[str, Split]:
    # The file lists .png; extractions also come as .jpg, so names are compared without the extension.
    names = [str(np.ravel(cell)[0]).rpartition(".")[0] for cell in np.ravel(mat["filelist"])]
    roles: dict[str, Split] = {}
    keys: dict[str, Split] = {"train_idx": "train", "query_idx": "query", "gallery_idx": "gallery"}
    for key, split in keys.items():
        if key not in mat:
            raise CuhsError(f"{path}: has filelist but no {key}; it is not a CUHK03-NP split")
        for index in np.ravel(mat[key]).astype(int):
            if not 1 <= index <= len(names):
                raise CuhsError(f"{path}: {key} has {index}, but filelist has {len(names)} names")
            roles[names[index - 1]] = split
    return roles


def _first_test_set(mat: dict[str, Any], path: Path) -> set[tuple[int, int]]:
    sets = mat["testsets"]
    rows = np.asarray(np.ravel(sets)[0]) if sets.dtype == object and sets.size else np.asarray(sets)
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.shape[0] == 0:
        raise CuhsError(f"{path}: testsets must hold tables of two columns, pair and identity")
    return {(int(pair), int(identity)) for pair, identity in rows}


def _classic_role(name: re.Match[str], test: set[tuple[int, int]]) -> Split:
    if (int(name[1]), int(name[2])) not in test:
        return "train"
    return "query" if name[3] == "1" else "gallery"
