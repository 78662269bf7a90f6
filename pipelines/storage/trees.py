"""Trees: the content of a folder or a file, named by a digest wherever it is stored.

A tree's manifest is canonical JSON (sorted keys, sorted paths, no blanks, UTF-8) with the path, size and SHA-256 of
every file. The manifest's own SHA-256 is the tree's digest. A tree of a single file has the one path ``.``. Empty
folders, times and modes do not count.
"""

import hashlib
import json
import os
import re
import shutil
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cuhs.errors import CuhsError, quoted
from pipelines.storage import inside

# Objects of at least this size are sent and checked in parts of this size.
PART_SIZE = 16 * 2**20
# In bytes: no disk holds such a file, and this manifest names some 400,000 files.
LARGEST, LARGEST_MANIFEST = 2**60, 64 * 2**20
DIGEST = re.compile("[0-9a-f]{64}")
ITSELF = "."


class DamagedTree(CuhsError):
    """A tree or one of its files differs from what was stored; fetching it again later will not help."""


@dataclass(frozen=True)
class Entry:
    """One file of a tree: its relative POSIX path, size in bytes, and SHA-256 in hexadecimal digits."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Tree:
    """The files of a tree, sorted by path."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, in hexadecimal digits."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def to_json(self) -> bytes:
        """The canonical manifest."""
        files = [{"path": e.path, "sha256": e.sha256, "size": e.size} for e in self.entries]
        text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()

    def places(self, root: Path) -> Iterator[tuple[Entry, Path]]:
        """Each entry with its path in a tree at ``root``.

        Raises:
            CuhsError: an entry would be outside ``root``.
        """
        for entry in self.entries:
            yield entry, root if entry.path == ITSELF else inside.below(root, entry.path)


def check_digest(text: str) -> str:
    """Return a digest that came from elsewhere, checked, because it becomes part of paths.

    Raises:
        DamagedTree: it is not a digest.
    """
    if not DIGEST.fullmatch(text):
        raise DamagedTree(f"{quoted(text)}: refused, it is not a tree's digest; do not trust what named it")
    return text


def make_tree(entries: Iterable[Entry]) -> Tree:
    """A tree of these entries in any order."""
    return Tree(tuple(sorted(entries, key=lambda entry: entry.path)))


def read_tree(manifest: bytes, digest: str) -> Tree:
    """Read a manifest that came from elsewhere.

    Raises:
        DamagedTree: it is damaged or not canonical, or a path leaves the tree's folder.
    """
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise DamagedTree(f"tree {digest}: its manifest is damaged; push it again")
    try:
        listed: list[dict[str, Any]] = json.loads(manifest)["files"]
        tree = make_tree(Entry(str(item["path"]), item["size"], str(item["sha256"])) for item in listed)
        canonical = tree.to_json() == manifest
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedTree(f"tree {digest}: not a manifest ({type(error).__name__}); push it again") from error
    if not canonical:
        raise DamagedTree(f"tree {digest}: its manifest is not canonical; push it again")
    if problem := _problem(tree):
        raise DamagedTree(f"tree {digest}: refused, {problem}")
    return tree


def files_of(root: Path) -> list[tuple[str, Path]]:
    """The relative path and the actual path of every file in a folder, or of one file, sorted.

    A link to a file counts as that file (DVC links outputs into its cache).

    Raises:
        CuhsError: ``root`` does not exist, or something in it cannot be read or is neither a file nor a folder, such
            as a link to a folder.
    """
    if root.is_file():
        return [(ITSELF, root)]
    if not root.is_dir():
        raise CuhsError(f"{root}: no such file or folder")
    found = []
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        for name in folders:
            if (path := Path(folder, name)).is_symlink():
                raise CuhsError(f"{path}: a link to a folder; replace it with the folder")
        for name in names:
            path = Path(folder, name)
            if not path.is_file():
                raise CuhsError(f"{path}: neither a file nor a folder (or a link to nothing); remove it")
            relative = path.relative_to(root).as_posix()
            if problem := inside.problem(relative):
                raise CuhsError(f"{path}: {problem}; rename it")
            found.append((relative, path))
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise CuhsError(f"{error.filename}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class Sums:
    """A file's size, its SHA-256, and the checksum that an S3 server keeps of it, in the server's notation."""

    size: int
    sha256: str
    at_server: str


def sums(path: Path) -> Sums:
    """Read a file once and compute all its checksums.

    For an object that was sent whole, S3 keeps the Base64 SHA-256. For one sent in N parts, it keeps the SHA-256 of
    the parts' SHA-256 digests, followed by ``-N``.
    """
    whole, parts, size = hashlib.sha256(), [], 0
    with path.open("rb") as file:
        while part := file.read(PART_SIZE):
            whole.update(part)
            parts.append(hashlib.sha256(part).digest())
            size += len(part)
    if size < PART_SIZE:
        return Sums(size, whole.hexdigest(), b64encode(whole.digest()).decode())
    composite = hashlib.sha256(b"".join(parts)).digest()
    return Sums(size, whole.hexdigest(), f"{b64encode(composite).decode()}-{len(parts)}")


def is_entry(path: Path, entry: Entry) -> bool:
    """Whether a regular file exists and matches the entry's size and checksum."""
    try:
        return path.is_file() and path.stat().st_size == entry.size and sums(path).sha256 == entry.sha256
    except OSError:
        return False


def make_room(root: Path, places: list[Path]) -> None:
    """Make the folders for files at ``places``, and remove everything else from ``root``, including links.

    If ``root`` itself is a link, or a file where a folder belongs or the other way round, it is removed too.
    """
    if root.is_symlink() or root.is_dir() == (places == [root]):
        remove(root)
    if places != [root]:
        root.mkdir(parents=True, exist_ok=True)
    wanted, folders = set(places), {folder for place in places for folder in place.parents}
    for path in sorted(root.rglob("*"), reverse=True):  # a folder's content comes before the folder
        if path.is_symlink() or not path.is_dir():
            if path not in wanted or path.is_symlink():
                path.unlink()
        elif path not in folders:
            path.rmdir()
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Delete a file or a folder if it exists; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(new: Path, target: Path) -> None:
    """Move a folder or a file to ``target``, in place of what may be there."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    with suppress(FileNotFoundError):
        target.rename(old)
    new.rename(target)
    remove(old)


def _problem(tree: Tree) -> str | None:
    paths = [entry.path for entry in tree.entries]
    if paths == [ITSELF]:
        paths = []
    for path in paths:
        if problem := inside.problem(path):
            return f"{quoted(path)}: {problem}"
    if len(set(paths)) < len(paths):
        return "a path is there twice"
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if both := sorted(folders & set(paths)):
        return f"{quoted(both[0])} is both a file and a folder"
    for entry in tree.entries:
        if type(entry.size) is not int or not 0 <= entry.size < LARGEST or not DIGEST.fullmatch(entry.sha256):
            return f"{quoted(entry.path)} has no proper size and checksum"
    return None
