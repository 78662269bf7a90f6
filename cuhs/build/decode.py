"""Reading and decoding every image once: all that a build learns from pixels is learnt here."""

import hashlib
from dataclasses import dataclass

from cuhs.build.near_duplicates import photograph_hash
from cuhs.errors import CuhsError
from cuhs.images import BadImage, load
from cuhs.raw.config import Source
from cuhs.raw.sources import raw_bytes

# An image over all sources: source and path.
Key = tuple[str, str]

# Images of one task: enough to make sending it cheap, few enough to share out evenly.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """What reading and decoding an image file showed.

    Attributes:
        digest: of the file's bytes; empty if it cannot be read.
        fault: why the image cannot be used, or None; what follows has a meaning only without one.
        width, height: in pixels, of the image held upright.
        size: of the image in bytes, as the dataset stores it.
        plain: the dataset stores the file's own bytes.
        look: its hashes as a photograph, None if it is empty to the eye.
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
        files: where they lie, as an absolute path.
        paths: relative to it.
        known: earlier findings, by path.
    """

    files: Source
    paths: list[str]
    known: dict[str, Finding]


def decode_images(batch: DecodeTask) -> list[Finding]:
    """Findings in the order of ``paths``; a file whose bytes are those of its earlier finding is not decoded.

    Raises:
        CuhsError: the source's folder is not to be seen from here.
    """
    if not batch.files.folder.exists():
        # Without this, every image that falls to this machine would be called unreadable.
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
    """By which a file's content is known again."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
