"""Clothing colours for identities without a label, from the pixels of their images."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cuhs.data.checking import Checked, Progress
from cuhs.data.clothing_colour import classify
from cuhs.data.head_shoulder_boxes import Box
from cuhs.data.images import load
from cuhs.data.inspection import BATCH, Key
from cuhs.data.parallel import Mapper
from cuhs.data.records import Sample
from cuhs.data.sources import SourceFiles, raw_bytes
from cuhs.data.torso import torso_features


@dataclass(frozen=True, slots=True)
class Torsos:
    """Images of one source for one worker: paths, and the head-shoulder box of each where there is one."""

    files: SourceFiles
    images: list[tuple[str, Box | None]]


def torsos(batch: Torsos) -> np.ndarray:
    """(n, 1032) uint8 of :func:`cuhs.data.torso.torso_features`."""
    return np.stack([torso_features(load(raw_bytes(batch.files, path)).pixels, box) for path, box in batch.images])


def with_colours(
    checked: Checked,
    sources: Mapping[str, SourceFiles],
    mapper: Mapper,
    progress: Progress,
) -> Checked:
    """Give a colour to people without a label, in the sources that ask for it (``classify``).

    A source's cameras are compared by all its images, labelled people's too; labels stay as they are.
    """
    found: dict[str, tuple[str, float]] = {}
    for source, files in sources.items():
        people = [s for s in checked.samples if s.source == source and s.is_person]
        if not files.classify or all(sample.colour_origin for sample in people):
            continue
        features = np.concatenate(list(_features(source, people, checked.boxes, files, mapper, progress)))
        found |= classify(features, [s.pid for s in people], [s.camid for s in people])
    return replace(checked, samples=[_coloured(sample, found) for sample in checked.samples])


def _coloured(sample: Sample, found: Mapping[str, tuple[str, float]]) -> Sample:
    if sample.colour_origin or sample.pid not in found:
        return sample
    colour, sure = found[sample.pid]
    return replace(sample, colour=colour, colour_origin="classifier", colour_confidence=round(sure, 3))


def _features(
    source: str,
    people: Iterable[Sample],
    boxes: Mapping[Key, Box],
    files: SourceFiles,
    mapper: Mapper,
    progress: Progress,
) -> Iterator[np.ndarray]:
    images = [(sample.raw.path, boxes.get((source, sample.raw.path))) for sample in people]
    tasks = [Torsos(files, images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    done = 0
    for features in mapper(torsos, tasks):
        done += len(features)
        progress(f"colours {source}", done, len(images))
        yield features
