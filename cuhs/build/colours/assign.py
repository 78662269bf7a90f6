"""Clothing colours of identities without a label, from the pixels of their images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cuhs.build.colours.linear_model import classify
from cuhs.build.colours.measures import exposures, torso_features
from cuhs.build.decode import BATCH, Key
from cuhs.build.gather import Gathered, Progress
from cuhs.build.parallel import Mapper
from cuhs.images import load
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import Box
from cuhs.raw.records import Sample
from cuhs.raw.sources import raw_bytes


@dataclass(frozen=True, slots=True)
class Torsos:
    """Images of one source, for one worker: paths, each with its head-shoulder box or None."""

    files: Source
    images: list[tuple[str, Box | None]]


def features(batch: Torsos) -> np.ndarray:
    """Compute (n, 1032) uint8 by :func:`cuhs.build.colours.measures.torso_features`."""
    return np.stack([torso_features(load(raw_bytes(batch.files, path)).pixels, box) for path, box in batch.images])


def network_probabilities(task: tuple[Torsos, np.ndarray]) -> np.ndarray:
    """Compute (n, 3) float32 by :func:`cuhs.build.colours.network.probabilities`, from images and their cameras'
    (n, 2, 3) :func:`cuhs.build.colours.measures.exposures`."""
    # Imported only if needed: torch takes seconds to import, and builds with labels do without it.
    from cuhs.build.colours.network import cut_out, fitted, levelled, one_thread, probabilities

    batch, seen_by = task
    cuts = np.stack([cut_out(load(raw_bytes(batch.files, path)).pixels, box) for path, box in batch.images])
    # There are usually as many workers as cores.
    with one_thread():
        return probabilities(fitted(), levelled(cuts, seen_by))


def with_colours(
    gathered: Gathered,
    sources: Mapping[str, Source],
    mapper: Mapper,
    progress: Progress,
) -> Gathered:
    """Give a colour to people without a label, in sources with ``classify``.

    A source's cameras are compared by all its images of people, with or without a label. Labels do not change.
    """
    found: dict[str, tuple[str, float]] = {}
    for source, files in sources.items():
        people = [s for s in gathered.samples if s.source == source and s.is_person]
        if not files.classify or all(sample.colour_origin for sample in people):
            continue
        found |= _colours(source, files, people, gathered.boxes, mapper, progress)
    return replace(gathered, samples=[_coloured(sample, found) for sample in gathered.samples])


def _colours(
    source: str,
    files: Source,
    people: Sequence[Sample],
    boxes: Mapping[Key, Box],
    mapper: Mapper,
    progress: Progress,
) -> Mapping[str, tuple[str, float]]:
    """Classify in two passes over the images: the second needs each camera's exposure, which the first measures."""
    images = [(sample.raw.path, boxes.get((source, sample.raw.path))) for sample in people]
    starts = range(0, len(images), BATCH)
    batches = [Torsos(files, images[start : start + BATCH]) for start in starts]
    pids, camids = [sample.pid for sample in people], [sample.camid for sample in people]
    points = _gathered(mapper(features, batches), f"colours {source}", len(images), progress)
    tasks = list(zip(batches, np.split(exposures(points, camids), starts[1:]), strict=True))
    seen = _gathered(mapper(network_probabilities, tasks), f"torsos {source}", len(images), progress)
    return classify(points, seen, pids, camids)


def _gathered(parts: Iterator[np.ndarray], name: str, total: int, progress: Progress) -> np.ndarray:
    """Concatenate the parts, reporting progress after each."""
    found: list[np.ndarray] = []
    done = 0
    for part in parts:
        found.append(part)
        done += len(part)
        progress(name, done, total)
    return np.concatenate(found)


def _coloured(sample: Sample, found: Mapping[str, tuple[str, float]]) -> Sample:
    if sample.colour_origin or sample.pid not in found:
        return sample
    colour, sure = found[sample.pid]
    return replace(sample, colour=colour, colour_origin="classifier", colour_confidence=round(sure, 3))
