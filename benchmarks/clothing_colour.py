"""``python -m benchmarks.clothing_colour --data RAW``: the clothing-colour classifier against labels given by eye.

RAW holds ``cuhk03/``, ``partial_reid/`` and ``annotations/`` with their labels and boxes. The classifier is
cross-validated over CUHK03's labelled identities; this fine-tunes networks from MobileNetV2's ImageNet weights, one
process for each core. The classifier that the project ships is measured on Partial-REID, to which it was not fitted;
``--synth FOLDER`` adds FG-Synth. The last line is JSON. ``--fit`` fits the shipped classifier to CUHK03's labels
again.
"""

import argparse
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks.torso_training import Task, trained
from cuhs.build.colours import network as torso_network
from cuhs.build.colours.linear_model import DOUBTFUL, FITTED, ColourModel, by_person, decide, fit, fitted, joined
from cuhs.build.colours.measures import describe, exposures, torso_features
from cuhs.build.colours.network import TorsoNetwork, cut_out, levelled, probabilities
from cuhs.build.parallel import map_on_cores
from cuhs.images import load
from cuhs.raw.config import Source
from cuhs.raw.head_shoulder_boxes import normalise
from cuhs.raw.labels import COLOURS
from cuhs.raw.records import Layout
from cuhs.raw.sources import list_source, raw_bytes

FOLDS = 5
# Divisions into folds; the choice of a single one moves F1 by 0.01.
DIVISIONS = 5
# Decisions with at least this probability count as sure.
SURE = 0.8
PROBABILITIES = (0.3, 0.34, 0.36, 0.38, 0.4, 0.42, 0.46, 0.5)


@dataclass(frozen=True)
class Labelled:
    """The images of one source's labelled people.

    Attributes:
        features: (N, 1032) uint8 of :func:`cuhs.build.colours.measures.torso_features`.
        cuts: (N, 72, 64, 3) uint8 of :func:`cuhs.build.colours.network.cut_out`.
        pids, camids: identity and camera of each image.
        worn: the colour of each identity.
    """

    features: np.ndarray
    cuts: np.ndarray
    pids: Sequence[int | str]
    camids: Sequence[int | str]
    worn: Mapping[int | str, str]

    def only(self, colour: str) -> "Labelled":
        """The part of the source in which everybody wears ``colour``."""
        kept = self.worn_by(self.pids) == colour
        pids, camids = list(compress(self.pids, kept)), list(compress(self.camids, kept))
        return Labelled(self.features[kept], self.cuts[kept], pids, camids, self.worn)

    def worn_by(self, pids: Iterable[int | str]) -> np.ndarray:
        """The colour of each identity."""
        return np.array([self.worn[pid] for pid in pids])

    @cached_property
    def measures(self) -> tuple[list[int | str], np.ndarray]:
        """The identities, and (I, D) of :func:`cuhs.build.colours.measures.describe`."""
        return describe(self.features, self.pids, self.camids)

    @cached_property
    def torsos(self) -> torch.Tensor:
        """(N, 3, 72, 64) uint8 of :func:`cuhs.build.colours.network.levelled`."""
        return levelled(self.cuts, exposures(self.features, self.camids))

    @cached_property
    def targets(self) -> torch.Tensor:
        """(N,) positions in :data:`cuhs.raw.labels.COLOURS`."""
        return torch.tensor([COLOURS.index(colour) for colour in self.worn_by(self.pids)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clothing_colour", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--weights",
        default="imagenet",
        help="torchvision's of MobileNetV2 (`imagenet`: downloaded once), or a file of them",
    )
    parser.add_argument("--synth", type=Path, help="a folder that `python -m pipelines.stages.synthesize` wrote")
    parser.add_argument(
        "--fit", action="store_true", help="fit to all of CUHK03's labels, and write both fitted files"
    )
    arguments = parser.parse_args()
    cuhk03 = labelled("cuhk03", arguments.data)
    if arguments.fit:
        fit_all(cuhk03, arguments.weights)
        return
    results: dict[str, Any] = cross_validated(cuhk03, arguments.weights)
    results["partial_reid"] = transferred(labelled("partial_reid", arguments.data))
    if arguments.synth:
        for layout in ("market1501", "cuhk03", "occluded_reid", "partial_reid"):
            results[f"fg_synth/{layout}"] = transferred(labelled(layout, arguments.synth))
    for name, result in results.items():
        print(f"{name}: {json.dumps(result)}")
    print(json.dumps(results))


@dataclass(frozen=True)
class Fold:
    """One fold, for one process: people to fit the classifier to, and held-out people to classify.

    Attributes:
        sources: the classifier is fitted to the first one's other people, and classifies held-out people of each.
        held_out: the identities held out.
        weights: the weights of the MobileNetV2 to start from.
        seed: the seed of the network's training.
    """

    sources: Sequence[Labelled]
    held_out: set[int | str]
    weights: str
    seed: int


@dataclass(frozen=True)
class Said:
    """People's colours (I,), and the probabilities (I, 3) of the linear model and of the network for them."""

    colours: np.ndarray
    measured: np.ndarray
    seen: np.ndarray

    @property
    def joined(self) -> np.ndarray:
        """(I, 3) of :func:`cuhs.build.colours.linear_model.joined`."""
        return joined(self.measured, self.seen)


def labelled(layout: Layout, raw: Path) -> Labelled:
    """All images of ``raw / layout`` whose people have a label."""
    annotations = raw / "annotations"
    files = Source(
        layout,
        raw / layout,
        clothing=annotations / f"{layout}_clothing.csv",
        boxes=annotations / f"{layout}_head_shoulder.csv",
    )
    listed = list_source(layout, files)
    images = [image for image in listed.images if image.pid in listed.colours]
    features, cuts = [], []
    for image in images:
        pixels = load(raw_bytes(files, image.path)).pixels
        box = listed.boxes.by_path.get(image.path)
        box = box and normalise(box, pixels.shape[1], pixels.shape[0])
        features.append(torso_features(pixels, box))
        cuts.append(cut_out(pixels, box))
    pids, camids = [image.pid for image in images], [image.camera for image in images]
    return Labelled(np.array(features), np.array(cuts), pids, camids, listed.colours)


def fit_all(source: Labelled, weights: str) -> None:
    """Fit both models of the classifier to all of CUHK03's people, and write them where the build reads them."""
    people, measures = source.measures
    model = fit(measures, source.worn_by(people).tolist(), f"CUHK03 camera pair 1, {len(people)} identities")
    network = trained(Task(weights, 0, source.torsos, source.targets))
    model.save(FITTED)
    network.save(torso_network.FITTED)


def cross_validated(source: Labelled, weights: str) -> dict[str, Any]:
    """Out-of-fold results on a source over several divisions, and with only people in one colour.

    The latter is harder: only the background tells the camera's exposure.
    """
    alike = {colour: source.only(colour) for colour in ("black", "white")}
    people = np.array(source.measures[0], dtype=object)
    colours = source.worn_by(people)
    tasks = [
        Fold(
            [source, *alike.values()], set(people[folds(colours, division) == fold]), weights, FOLDS * division + fold
        )
        for division in range(DIVISIONS)
        for fold in range(FOLDS)
    ]
    found = list(track(map_on_cores(fold_says, tasks), "folds", len(tasks)))
    everybody, *alone = (together([said[k] for said in found]) for k in range(1 + len(alike)))
    results = {
        "cuhk03": scores(everybody.joined, everybody.colours)
        | {"f1 from a probability of": by_probability(everybody)},
        "cuhk03, linear model, from 0.5": scores(everybody.measured, everybody.colours, 0.5),
        "cuhk03, network": scores(everybody.seen, everybody.colours),
    }
    for colour, said in zip(alike, alone, strict=True):
        results[f"cuhk03, all in {colour}"] = {"recall": scores(said.joined, said.colours)[colour]["recall"]}
    return results


def folds(colours: np.ndarray, seed: int) -> np.ndarray:
    """(I,) a fold for each identity; every colour is spread evenly over the folds."""
    rng = np.random.default_rng(seed)
    fold_of = np.empty(len(colours), dtype=int)
    for colour in COLOURS:
        rows = rng.permutation(np.flatnonzero(colours == colour))
        fold_of[rows] = np.arange(len(rows)) % FOLDS
    return fold_of


def fold_says(fold: Fold) -> list[Said]:
    """The answers of a classifier, fitted to the rest, on the held-out people in each of the fold's sources."""
    source = fold.sources[0]
    people, measures = source.measures
    rest = np.array([pid not in fold.held_out for pid in people])
    model = fit(measures[rest], source.worn_by(people)[rest].tolist())
    rest = np.array([pid not in fold.held_out for pid in source.pids])
    network = trained(Task(fold.weights, fold.seed, source.torsos[rest], source.targets[rest]))
    return [asked(some, fold.held_out, model, network) for some in fold.sources]


def asked(source: Labelled, pids: Collection[int | str], model: ColourModel, network: TorsoNetwork) -> Said:
    """The answers of a classifier on some of a source's people."""
    people, measures = source.measures
    meant = np.array([pid in pids for pid in people])
    images = np.array([pid in pids for pid in source.pids])
    seen = by_person(
        probabilities(network, source.torsos[images]),
        list(compress(source.pids, images)),
        list(compress(source.camids, images)),
    )
    return Said(source.worn_by(people)[meant], model.probabilities(measures[meant]), seen)


def together(said: Sequence[Said]) -> Said:
    """The answers of several folds, concatenated."""
    return Said(*(np.concatenate([getattr(part, name) for part in said]) for name in ("colours", "measured", "seen")))


def by_probability(said: Said) -> dict[str, dict[str, float]]:
    """F1 of black and white for other probabilities from which they are assigned."""
    return {
        str(least): {colour: scores(said.joined, said.colours, least)[colour]["f1"] for colour in ("black", "white")}
        for least in PROBABILITIES
    }


def transferred(source: Labelled) -> dict[str, Any]:
    """The results of the classifier that the project ships."""
    said = asked(source, set(source.pids), fitted(), torso_network.fitted())
    return scores(said.joined, said.colours)


def scores(
    probabilities: np.ndarray, colours: Sequence[str] | np.ndarray, doubtful: float = DOUBTFUL
) -> dict[str, Any]:
    """Precision, recall and F1 of each colour, the confusion matrix (rows are labels), and who is sure."""
    decisions = decide(probabilities, doubtful)
    given, truth = np.array([colour for colour, _ in decisions]), np.asarray(colours)
    sure = np.array([probability >= SURE for _, probability in decisions])
    result: dict[str, Any] = {}
    for colour in COLOURS:
        right = int(((given == colour) & (truth == colour)).sum())
        named, there = int((given == colour).sum()), int((truth == colour).sum())
        result[colour] = {
            "precision": round(right / max(named, 1), 3),
            "recall": round(right / max(there, 1), 3),
            "f1": round(2 * right / max(named + there, 1), 3),
        }
    result["confusion"] = [[int(((truth == a) & (given == b)).sum()) for b in COLOURS] for a in COLOURS]
    result["sure"] = {
        "coverage": round(float(sure.mean()), 3),
        "accuracy": round(float((given == truth)[sure].mean()), 3) if sure.any() else None,
    }
    return result


if __name__ == "__main__":
    main()
