"""Inspection of every image of every source; joins file names, annotations and pixels."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cuhs.build.boxes.scale import check_scale
from cuhs.build.decode import BATCH, DecodeTask, Finding, Key, decode_images
from cuhs.build.parallel import Mapper
from cuhs.build.scratch import Scratch
from cuhs.build.unusual_boxes import unusual
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import Box
from cuhs.raw.parts import part_of
from cuhs.raw.records import RawImage, Sample
from cuhs.raw.sources import Listed

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Gathered:
    """All images after decoding, with their boxes and the files that cannot be used.

    Attributes:
        samples: the usable images.
        findings: finding of each usable image.
        boxes: head-shoulder boxes in [0, 1].
        quarantine: ``source``, ``path`` and ``reason`` of each unusable file.
        dropped_boxes: ``source``, ``file`` and ``reason`` of each unusable box annotation.
        origins: origin of each box, one of :data:`cuhs.raw.head_shoulder_boxes.ORIGINS`.
    """

    samples: list[Sample]
    findings: dict[Key, Finding]
    boxes: dict[Key, Box]
    quarantine: list[dict[str, str]]
    dropped_boxes: list[dict[str, str]]
    origins: dict[Key, str]


def gather(
    sources: Mapping[str, Source],
    listed: Mapping[str, Listed],
    scratch: Scratch,
    mapper: Mapper,
    progress: Progress,
) -> Gathered:
    """Inspect every image that the sources list.

    Args:
        sources: the sources, with absolute paths.
        listed: file names and annotations of each source.
        scratch: findings of earlier attempts; new findings are recorded there at once.
        mapper: runs the decoding of images.
        progress: called with ``check SOURCE``, the number of images done, and the total.

    Raises:
        CuhsError: no image of a part of a source is usable, or the boxes are of images of another size.
    """
    gathered = Gathered([], {}, {}, [], [], {})
    for source, part in listed.items():
        gathered.quarantine.extend(
            {"source": source, "path": path, "reason": "the name does not follow the layout"} for path in part.strays
        )
    for source, image, finding in _inspected(sources, listed, scratch, mapper, progress):
        part, key = listed[source], (source, image.path)
        if finding.fault:
            gathered.quarantine.append({"source": source, "path": image.path, "reason": finding.fault})
            continue
        colour = part.colours.get(image.pid)
        gathered.samples.append(Sample(source, image, colour or "other", "label" if colour else None))
        gathered.findings[key] = finding
        if image.path in part.boxes.by_path:
            box = part.boxes.normalised(image.path, finding.width, finding.height)
            if box:
                gathered.boxes[key] = box
                gathered.origins[key] = part.boxes.origin(image.path)
            else:
                reason = f"outside the image of {finding.width}×{finding.height} pixels"
                gathered.dropped_boxes.append({"source": source, "file": image.path, "reason": reason})
    check_scale(listed, gathered.findings)
    for source, part in listed.items():
        gathered.dropped_boxes.extend(
            {"source": source, "file": file, "reason": "names no image of the source"}
            for file in part.boxes.unmatched
        )
    if gathered.samples:
        _check_parts(sources, listed, gathered)
    else:
        first = gathered.quarantine[0]
        raise CuhsError(f"no usable image; the first bad one is {first['source']}/{first['path']}: {first['reason']}")
    return gathered


def _check_parts(sources: Mapping[str, Source], listed: Mapping[str, Listed], gathered: Gathered) -> None:
    usable = {(sample.source, part_of(sources[sample.source], sample.raw)) for sample in gathered.samples}
    faults = {(item["source"], item["path"]): item["reason"] for item in gathered.quarantine}
    for source, part in listed.items():
        for image in part.images:
            if (source, name := part_of(sources[source], image)) not in usable:
                raise CuhsError(
                    f"{sources[source].folder}: not one image of {name} can be used; the first is {image.path}: "
                    f"{faults[source, image.path]}"
                )


def unusual_boxes(gathered: Gathered) -> list[dict[str, str]]:
    """List ``source``, ``file`` and ``reason`` of used boxes that are unlike the other boxes of their source.

    Fixed boxes are left out: they are all the same.
    """
    by_source: dict[str, list[Key]] = defaultdict(list)
    for key in sorted(gathered.boxes):
        if gathered.origins[key] != "fixed":
            by_source[key[0]].append(key)
    return [
        {"source": source, "file": keys[row][1], "reason": reason}
        for source, keys in by_source.items()
        for row, reason in unusual(np.array([gathered.boxes[key] for key in keys])).items()
    ]


def _inspected(
    sources: Mapping[str, Source],
    listed: Mapping[str, Listed],
    scratch: Scratch,
    mapper: Mapper,
    progress: Progress,
) -> Iterator[tuple[str, RawImage, Finding]]:
    """Yield every image with its finding, in order."""
    parts = [
        (source, part.images[start : start + BATCH])
        for source, part in listed.items()
        for start in range(0, len(part.images), BATCH)
    ]
    tasks = []
    for source, images in parts:
        paths = [image.path for image in images]
        tasks.append(DecodeTask(sources[source], paths, scratch.known(source, paths)))
    done: Counter[str] = Counter()
    for (source, images), findings in zip(parts, mapper(decode_images, tasks), strict=True):
        found = list(zip(images, findings, strict=True))
        scratch.note(source, ((image.path, finding) for image, finding in found))
        done[source] += len(images)
        progress(f"check {source}", done[source], len(listed[source].images))
        yield from ((source, image, finding) for image, finding in found)
