"""Head-shoulder boxes for images of people that no annotation file gives a box."""

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

# Number of images that go through the detector together.
AT_A_TIME = 8


def detectors(sources: Mapping[str, Source], listed: Mapping[str, Listed]) -> dict[str, "Module"]:
    """Load the detector of each source that names one and has an image of a person without a box.

    Raises:
        CuhsError: the weights cannot be downloaded or read; the message names the source's key.
    """
    loaded: dict[str, Module] = {}
    models: dict[str, Module] = {}
    for source, files in sources.items():
        boxed = listed[source].boxes.by_path
        weights = files.detector
        if weights is None or all(image.path in boxed for image in listed[source].images if image.is_person):
            continue
        # Imported only if needed: torch takes seconds to import, and most builds do without it.
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
    """Detect boxes in images of people that have none; where no person is detected there is still no box.

    Args:
        gathered: the images, and the boxes from annotation files.
        sources: the sources, with absolute paths.
        models: result of :func:`detectors`.
        scratch: boxes of earlier attempts; new boxes are recorded there at once.
        progress: called with ``boxes SOURCE``, the number of images done, and the total.

    Raises:
        OSError: an image can no longer be read.
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
    """Give people without a box the upper third of the image, in sources with ``fixed_box``."""
    fixed = [
        (sample.source, sample.raw.path) for sample in _without_box(gathered) if sources[sample.source].fixed_box
    ]
    return replace(
        gathered,
        boxes=gathered.boxes | dict.fromkeys(fixed, fixed_box()),
        origins=gathered.origins | dict.fromkeys(fixed, "fixed"),
    )


def _without_box(gathered: Gathered) -> list[Sample]:
    """Return the images of people without a box; junk and distractors need none."""
    return [s for s in gathered.samples if s.is_person and (s.source, s.raw.path) not in gathered.boxes]
