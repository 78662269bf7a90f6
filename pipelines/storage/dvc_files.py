"""Checks ``params.yaml``, ``dvc.lock`` and listings in DVC's cache that came from elsewhere, before DVC uses them.

DVC itself trusts them: it follows ``../../.git/hooks/x`` in the listing of a folder, and does not compare the
checksum of a listing that it fetches.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cuhs.errors import CuhsError, quoted
from pipelines.base.stages import DATA
from pipelines.base.yaml_files import MOST as LIMIT
from pipelines.base.yaml_files import read_yaml
from pipelines.storage import inside

KEYS = {"path", "hash", "md5", "size", "nfiles", "isexec"}
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def check_params(path: Path) -> None:
    """Check that parameters do not move an output.

    Raises:
        CuhsError: the file is damaged, or ``synthesize.folder``, an output in older commits, is outside ``data/``.
    """
    section = _read(path).get("synthesize")
    folder = section.get("folder") if isinstance(section, dict) else None
    if folder is not None and not _is_data(folder):
        raise CuhsError(f"{path.name}: synthesize.folder: {quoted(folder)} is refused, it is outside data/")


def check_lock(path: Path) -> None:
    """Check that a lock names only outputs below ``data/``, ``models/`` and ``reports/``, with nothing but checksums.

    Raises:
        CuhsError: the file is damaged, or holds something else.
    """
    for stage, out in _outs(path):
        if not isinstance(out, dict) or not out.keys() <= KEYS or out.get("hash") != "md5":
            raise CuhsError(f"{path.name}: {stage}: an output has more than a path and its MD5; it is refused")
        if not _is_data(out.get("path")):
            raise CuhsError(f"{path.name}: {stage}: {quoted(out.get('path'))} is refused, no output belongs there")
        if not MD5.fullmatch(str(out.get("md5"))):
            raise CuhsError(f"{path.name}: {stage}: {quoted(out.get('md5'))} is refused, it is not an MD5")


def check_cached(path: Path, cache: Path) -> None:
    """Check that the listings in DVC's cache name only files inside their folders; a listing that fails is deleted.

    Args:
        path: a lock that passed :func:`check_lock`.
        cache: DVC's cache, by default ``.dvc/cache``.

    Raises:
        CuhsError: a listing does not match its checksum, or names a file outside its folder.
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
        return "it does not match its checksum"
    try:
        names = [str(entry["relpath"]) for entry in json.loads(data)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it is not a list of files"
    return next((f"{quoted(name)}: {why}" for name in names if (why := inside.problem(name))), None)


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
        raise CuhsError(f"{path.name}: refused, it is not a file of at most {LIMIT} bytes")
    try:
        found = read_yaml(path, "fetch it again")
    except CuhsError as error:  # names the folder that it was fetched into
        raise CuhsError(f"{path.name}: not valid YAML; it is damaged") from error
    if not isinstance(found, dict):
        raise CuhsError(f"{path.name}: holds no keys; it is damaged")
    return found
