"""Checkpoints that are whole or absent."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from cuhs.errors import CuhsError

STATE, MANIFEST = "state.pt", "manifest.json"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``folder``; the manifest with size and SHA-256 comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / STATE)
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """List size and SHA-256 of every file in ``folder``: what makes a checkpoint exist."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    partial = folder / f"{MANIFEST}.part"
    partial.write_text(json.dumps(files, indent=1))
    partial.replace(folder / MANIFEST)


def is_whole(folder: Path) -> bool:
    """Whether the manifest is there and every file is what it says."""
    try:
        files = json.loads((folder / MANIFEST).read_text())
        return all(
            (folder / name).stat().st_size == entry["bytes"] and _sha256(folder / name) == entry["sha256"]
            for name, entry in files.items()
        )
    except (OSError, ValueError):
        return False


def load(folder: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        CuhsError: it is damaged.
    """
    if not is_whole(folder):
        raise CuhsError(f"{folder}: damaged checkpoint (its manifest and files differ); delete it to start afresh")
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
