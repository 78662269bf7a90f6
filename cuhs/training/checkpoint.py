"""Checkpoints that are either complete or do not count."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from cuhs.errors import CuhsError

STATE, MANIFEST, PARTIAL = "state.pt", "manifest.json", "manifest.json.part"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``folder``, then the manifest that completes the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / STATE)
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """Write the size and SHA-256 of every file in ``folder``; a checkpoint without this manifest does not count."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {MANIFEST, PARTIAL}
    }
    partial = folder / PARTIAL
    partial.write_text(json.dumps(files, indent=1))
    partial.replace(folder / MANIFEST)


def is_whole(folder: Path) -> bool:
    """Return whether the manifest exists and every file matches it."""
    try:
        files = json.loads((folder / MANIFEST).read_text())
        # Check files of this folder only: a manifest may come from elsewhere and name any file of this machine.
        here = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return STATE in files and all(
            here[name].stat().st_size == entry["bytes"] and _sha256(here[name]) == entry["sha256"]
            for name, entry in files.items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # missing, or not a manifest's JSON
        return False


def load(folder: Path) -> dict[str, Any]:
    """Read a checkpoint, without executing anything in it.

    Raises:
        CuhsError: the checkpoint is damaged, or holds more than tensors and plain values.
    """
    if not is_whole(folder):
        raise CuhsError(f"{folder}: damaged checkpoint (its manifest and files differ); delete it to start afresh")
    try:
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CuhsError(f"{folder / STATE}: holds more than tensors and plain values; delete it") from error
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
