"""The parts of a raw dataset: what lies in one folder of its layout and has one role."""

from collections import defaultdict
from collections.abc import Iterable

from cuhs.raw.config import Source
from cuhs.raw.records import RawImage


def part_of(files: Source, image: RawImage) -> str:
    """Return an image's part, such as ``query/ (query)``; with the layout ``pattern`` its role alone."""
    role = image.split or "role drawn"
    return role if files.layout == "pattern" else f"{image.path.partition('/')[0]}/ ({role})"


def count_parts(files: Source, images: Iterable[RawImage]) -> dict[str, dict[str, int]]:
    """Count the identities (``ids``, without distractors and junk) and the ``images`` of each part, in order."""
    parts: dict[str, list[RawImage]] = defaultdict(list)
    for image in images:
        parts[part_of(files, image)].append(image)
    return {
        part: {"ids": len({image.pid for image in held if image.is_person}), "images": len(held)}
        for part, held in sorted(parts.items())
    }


def in_words(parts: dict[str, dict[str, int]]) -> str:
    """Write the counts of :func:`count_parts` in one line."""
    return ", ".join(
        f"{part} {counted['images']:,} images of {counted['ids']:,} identities" for part, counted in parts.items()
    )
