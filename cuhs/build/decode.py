"""Reading and decoding of every image, once: the source of all that a build learns from pixels."""

import hashlib
from dataclasses import dataclass

from cuhs.build.near_duplicates import photograph_hash
from cuhs.errors import CuhsError
from cuhs.images import BadImage, load
from cuhs.raw.config import Source
from cuhs.raw.sources import raw_bytes

# Key of an image over all sources: source and path.
Key = tuple[str, str]

# Images in a task: enough to make sending it worthwhile, few enough to share the work evenly.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of reading and decoding an image file.

    Attributes:
        digest: digest of the file's bytes; empty if it cannot be read.
        fault: why the image cannot be used, or None; the other attributes are only valid without a fault.
        width, height: size of the upright image in pixels.
        size: size in bytes of the image as the dataset stores it.
        plain: whether the dataset stores the file's own bytes.
        look: its hashes as a photograph; None for an image without visible content.
    """

    digest: str
    fault: str | None = None
    width: int = 0
    height: int = 0
    size: int = 0
    plain: bool = True
    look: str | None = None


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """Images of one source, for one worker.

    Attributes:
        files: the source, with absolute paths.
        paths: paths of the images, relative to the source's folder.
        known: earlier findings, by path.
    """

    files: Source
    paths: list[str]
    known: dict[str, Finding]


def decode_images(batch: DecodeTask) -> list[Finding]:
    """Return the findings in the order of ``paths``; files with an unchanged digest are not decoded again.

    Raises:
        CuhsError: the source's folder cannot be seen from this machine.
    """
    if not batch.files.folder.exists():
        # Fail here: otherwise every image of this machine's tasks would be quarantined as unreadable.
        raise CuhsError(f"{batch.files.folder}: not there on every node; put data.raw where all nodes can read it")
    return [_inspect_image(batch.files, path, batch.known.get(path)) for path in batch.paths]


def _inspect_image(files: Source, path: str, known: Finding | None) -> Finding:
    try:
        data = raw_bytes(files, path)
    except OSError as error:
        return Finding("", f"unreadable: {error.strerror or error}")
    digest = digest_of(data)
    if known and known.digest == digest:
        return known
    try:
        encoded = load(data)
    except BadImage as error:
        return Finding(digest, str(error))
    height, width = encoded.pixels.shape[:2]
    plain = encoded.data == data
    return Finding(digest, None, width, height, len(encoded.data), plain, photograph_hash(encoded.pixels))


def digest_of(data: bytes) -> str:
    """Return the digest by which a file's content is recognised."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
