"""What DVC would write for a ``params.yaml``, a ``dvc.lock`` and folders in its cache that came from elsewhere.

DVC itself trusts them: a listing in its cache may name ``../../.git/hooks/x``, and it compares no checksum of one
that it fetches. So they are checked here before DVC sees them.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cuhs.errors import CuhsError
from pipelines.base.stages import DATA
from pipelines.storage import inside

# Bytes; the files of this project have a few thousand.
LIMIT = 2**20
KEYS = {"path", "hash", "md5", "size", "nfiles", "isexec"}
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def check_params(path: Path) -> None:
    """See that parameters move no output.

    Raises:
        CuhsError: they are damaged, or ``synthesize.folder``, which older commits have an output in, lies elsewhere.
    """
    section = _read(path).get("synthesize")
    folder = section.get("folder") if isinstance(section, dict) else None
    if folder is not None and not _is_data(folder):
        raise CuhsError(f"{path.name}: synthesize.folder: {folder!r} is refused, it lies outside of data/")


def check_lock(path: Path) -> None:
    """See that a lock names outputs below ``data/``, ``models/`` and ``reports/``, each by its checksum alone.

    Raises:
        CuhsError: it is damaged, or has something else.
    """
    for stage, out in _outs(path):
        if not isinstance(out, dict) or not out.keys() <= KEYS or out.get("hash") != "md5":
            raise CuhsError(f"{path.name}: {stage}: an output has more than a path and its MD5; it is refused")
        if not _is_data(out.get("path")):
            raise CuhsError(f"{path.name}: {stage}: {out.get('path')!r} is refused, it is no place of an output")
        if not MD5.fullmatch(str(out.get("md5"))):
            raise CuhsError(f"{path.name}: {stage}: {out.get('md5')!r} is refused, it is no MD5")


def check_cached(path: Path, cache: Path) -> None:
    """See that what DVC's cache holds of a lock's folders stays in them; a listing that does not is deleted.

    Args:
        path: of a lock that :func:`check_lock` let through.
        cache: DVC's, ``.dvc/cache`` where nothing else is configured.

    Raises:
        CuhsError: a listing is not what its checksum says, or names a file outside of its folder.
    """
    for stage, out in _outs(path):
        digest = out["md5"]
        listing = cache / "files/md5" / digest[:2] / digest[2:]
        if digest.endswith(".dir") and listing.is_file() and (why := _listing_problem(listing, digest)):
            listing.unlink()
            raise CuhsError(
                f"{stage}: {out['path']}: what DVC fetched is refused, {why}; see who can write to its remote"
            )


def _listing_problem(listing: Path, digest: str) -> str | None:
    data = listing.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != digest.removesuffix(".dir"):
        return "it is not what its checksum says"
    try:
        names = [str(entry["relpath"]) for entry in json.loads(data)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it is no list of files"
    return next((f"{name!r}: {why}" for name in names if (why := inside.problem(name))), None)


def _is_data(name: object) -> bool:
    return isinstance(name, str) and not inside.problem(name) and name.split("/")[0] in DATA and "/" in name


def _outs(path: Path) -> Iterator[tuple[str, Any]]:
    stages = _read(path).get("stages", {})
    try:
        yield from [(str(name), out) for name, stage in stages.items() for out in stage.get("outs", [])]
    except (AttributeError, TypeError) as error:
        raise CuhsError(f"{path.name}: holds no stages; it is damaged") from error


def _read(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LIMIT:
        raise CuhsError(f"{path.name}: refused, it is no file of at most {LIMIT} bytes")
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise CuhsError(f"{path.name}: not valid YAML; it is damaged") from error
    if not isinstance(found, dict):
        raise CuhsError(f"{path.name}: holds no keys; it is damaged")
    return found
