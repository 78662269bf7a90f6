"""Checkpoints that are either complete or do not count."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from cuhs.config import Config
from cuhs.documents import Document
from cuhs.errors import CuhsError, cut
from cuhs.files import sync, write_file

STATE, MANIFEST = "state.pt", "manifest.json"


class DamagedCheckpoint(CuhsError):
    """The checkpoint cannot be used; an earlier one may be whole."""


class _File(Config):
    bytes: Annotated[int, Field(ge=0)]
    sha256: str


_LISTED = Document(dict[str, _File], "a checkpoint's manifest", "delete the checkpoint to start afresh")


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``folder``, then the manifest that completes the checkpoint.

    Raises:
        CuhsError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / STATE)
        sync(folder / STATE)
        write_manifest(folder)
    except (OSError, RuntimeError) as error:  # torch raises the latter on a full disk
        why = getattr(error, "strerror", None) or f"{cut(str(error))}; is the disk full?"
        raise CuhsError(f"{folder}: cannot be written ({why}); the checkpoint before is kept") from error


def write_manifest(folder: Path) -> None:
    """Write the size and SHA-256 of every file in ``folder``; a checkpoint without this manifest does not count."""
    files = {
        name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in sorted(_files(folder).items())
    }
    write_file(folder / MANIFEST, json.dumps(files, indent=1))


def is_whole(folder: Path) -> bool:
    """Return whether the manifest exists and every file matches it."""
    try:
        listed = _LISTED.read(folder / MANIFEST)
        # Check files of this folder only: a manifest may come from elsewhere and name any file of this machine.
        here = _files(folder)
        return STATE in listed and all(
            name in here and here[name].stat().st_size == file.bytes and _sha256(here[name]) == file.sha256
            for name, file in listed.items()
        )
    except (OSError, CuhsError):  # missing, or not a manifest's JSON
        return False


def load(folder: Path) -> dict[str, Any]:
    """Read a checkpoint, without executing anything in it.

    Raises:
        DamagedCheckpoint: it is damaged, or holds more than tensors and plain values.
    """
    if not is_whole(folder):
        raise DamagedCheckpoint(
            f"{folder}: damaged checkpoint (its manifest and files differ); delete it to start afresh"
        )
    path = folder / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises exceptions of any type on broken files
        raise DamagedCheckpoint(
            f"{path}: holds more than tensors and plain values, or is damaged ({cut(str(error))}); delete {folder}"
        ) from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path}: holds no state of a training; delete {folder}")
    return state


def _files(folder: Path) -> dict[str, Path]:
    """Return the regular files that a manifest lists, by their relative paths."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != MANIFEST and not path.name.startswith(".")
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
