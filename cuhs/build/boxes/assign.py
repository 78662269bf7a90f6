"""Head-shoulder boxes for people to whom no file gives one."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cuhs.build.gather import Gathered, Progress
from cuhs.build.scratch import Scratch
from cuhs.errors import CuhsError
from cuhs.images import load
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import fixed_box, normalise
from cuhs.raw.records import Sample
from cuhs.raw.sources import Listed, raw_bytes

if TYPE_CHECKING:
    from torch.nn import Module

# Images that go through the detector at a time.
AT_A_TIME = 8


def detectors(sources: Mapping[str, Source], listed: Mapping[str, Listed]) -> dict[str, "Module"]:
    """The detector of each source that asks for one and has an image of a person without a box.

    Raises:
        CuhsError: its weights cannot be had; the message names the source's key.
    """
    loaded: dict[str, Module] = {}
    models: dict[str, Module] = {}
    for source, files in sources.items():
        boxed = listed[source].boxes.by_path
        weights = files.detector
        if weights is None or all(image.path in boxed for image in listed[source].images if image.is_person):
            continue
        # Not at the top: torch takes seconds to import, and most builds need none of it.
        from cuhs.build.boxes.detector import keypoint_rcnn

        try:
            models[source] = loaded[weights] = loaded.get(weights) or keypoint_rcnn(weights)
        except CuhsError as error:
            raise CuhsError(f"data.sources.{source}.detector: {error}") from error
    return models


def with_detected_boxes(
    gathered: Gathered,
    sources: Mapping[str, Source],
    models: Mapping[str, "Module"],
    scratch: Scratch,
    progress: Progress,
) -> Gathered:
    """Look for a box in the images of people that have none; where nobody is found there is none.

    Args:
        gathered: the images and the boxes that files give.
        sources: where they lie.
        models: from :func:`detectors`.
        scratch: what an earlier attempt found, and where boxes are written down as they come.
        progress: called with ``boxes SOURCE``, images done, and images in all.

    Raises:
        OSError: an image cannot be read any more.
    """
    boxes, origins = dict(gathered.boxes), dict(gathered.origins)
    for source, model in models.items():
        from cuhs.build.boxes.detector import keypoint_boxes, version_of

        missing = [sample for sample in _without_box(gathered) if sample.source == source]
        version = version_of(model)
        for start in range(0, len(missing), AT_A_TIME):
            batch = missing[start : start + AT_A_TIME]
            keys = [(source, sample.raw.path) for sample in batch]
            digests = "".join(gathered.findings[key].digest for key in keys)
            key = hashlib.blake2b(f"{version}{digests}".encode(), digest_size=16).hexdigest()
            found = scratch.detected(key)
            if found is None:
                pixels = [load(raw_bytes(sources[source], sample.raw.path)).pixels for sample in batch]
                found = keypoint_boxes(pixels, model)
                scratch.note_detected(key, found)
            for image, box in zip(keys, found, strict=True):
                finding = gathered.findings[image]
                if box and (part := normalise(box, finding.width, finding.height)):
                    boxes[image], origins[image] = part, "detected"
            progress(f"boxes {source}", start + len(batch), len(missing))
    return replace(gathered, boxes=boxes, origins=origins)


def with_fixed_boxes(gathered: Gathered, sources: Mapping[str, Source]) -> Gathered:
    """Give the upper part of the image to people who have no box, in the sources that ask for it (``fixed_box``)."""
    fixed = [
        (sample.source, sample.raw.path) for sample in _without_box(gathered) if sources[sample.source].fixed_box
    ]
    return replace(
        gathered,
        boxes=gathered.boxes | dict.fromkeys(fixed, fixed_box()),
        origins=gathered.origins | dict.fromkeys(fixed, "fixed"),
    )


def _without_box(gathered: Gathered) -> list[Sample]:
    """Junk and distractors show no person to look for."""
    return [s for s in gathered.samples if s.is_person and (s.source, s.raw.path) not in gathered.boxes]
