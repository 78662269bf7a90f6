"""``python -m benchmarks.clothing_colour --data RAW``: the clothing-colour classifier against labels given by eye.

RAW holds ``cuhk03/``, ``partial_reid/`` and ``annotations/`` with their labels and boxes. Cross-validated over
CUHK03's labelled identities, and with the coefficients that come with the project on Partial-REID, which they were
not fitted to; ``--synth FOLDER`` adds FG-Synth. The last line is JSON. ``--fit FILE`` fits to all of CUHK03's labels
and writes the coefficients.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuhs.data.clothing import COLOURS
from cuhs.data.clothing_colour import ColourModel, decide, fit, fitted
from cuhs.data.head_shoulder_boxes import Box, normalise
from cuhs.data.images import load
from cuhs.data.records import Layout
from cuhs.data.sources import SourceFiles, list_source, raw_bytes
from cuhs.data.torso import describe, torso_features

FOLDS = 5
# Divisions into folds; one alone moves F1 by 0.01.
REPEATS = 5
# Coverage is counted from this probability of the colour given.
SURE = 0.8


@dataclass(frozen=True)
class Labelled:
    """Images of labelled people: (N, ...) what was seen of each, its identity and camera, colour of each identity."""

    features: np.ndarray
    pids: list[int | str]
    camids: list[int | str]
    colours: dict[int | str, str]

    def only(self, colour: str) -> "Labelled":
        """A source where everybody wears ``colour``."""
        kept = [row for row, pid in enumerate(self.pids) if self.colours[pid] == colour]
        return Labelled(
            self.features[kept], [self.pids[row] for row in kept], [self.camids[row] for row in kept], self.colours
        )

    def described(self) -> tuple[list[int | str], np.ndarray, np.ndarray]:
        """Identities, their measures and their labels."""
        people, measures = describe(self.features, self.pids, self.camids)
        return people, measures, np.array([self.colours[pid] for pid in people])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clothing_colour", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--synth", type=Path, help="a folder that `python -m pipelines.synthesize` wrote")
    parser.add_argument("--fit", type=Path, help="write the coefficients fitted to all of CUHK03's labels")
    arguments = parser.parse_args()
    cuhk03 = labelled("cuhk03", arguments.data)
    if arguments.fit:
        people, measures, colours = cuhk03.described()
        fit(measures, colours.tolist(), f"CUHK03 camera pair 1, {len(people)} identities").save(arguments.fit)
        return
    results: dict[str, Any] = cross_validated(cuhk03)
    results["partial_reid"] = transferred(labelled("partial_reid", arguments.data))
    if arguments.synth:
        for layout in ("market1501", "cuhk03", "occluded_reid", "partial_reid"):
            results[f"fg_synth/{layout}"] = transferred(labelled(layout, arguments.synth))
    for name, result in results.items():
        print(f"{name}: {json.dumps(result)}")
    print(json.dumps(results))


def labelled(
    layout: Layout, raw: Path, look: Callable[[np.ndarray, Box | None], np.ndarray] = torso_features
) -> Labelled:
    """What ``look`` sees in all images of ``raw / layout`` whose people have a label."""
    annotations = raw / "annotations"
    files = SourceFiles(
        layout,
        raw / layout,
        clothing=annotations / f"{layout}_clothing.csv",
        boxes=annotations / f"{layout}_head_shoulder.csv",
    )
    listed = list_source(layout, files)
    images = [image for image in listed.images if image.pid in listed.colours]
    features = []
    for image in images:
        pixels = load(raw_bytes(files, image.path)).pixels
        box = listed.boxes.by_path.get(image.path)
        features.append(look(pixels, box and normalise(box, pixels.shape[1], pixels.shape[0])))
    return Labelled(
        np.array(features), [image.pid for image in images], [image.camera for image in images], listed.colours
    )


def cross_validated(source: Labelled, repeats: int = REPEATS) -> dict[str, Any]:
    """Out-of-fold results on a source over several divisions, and if nobody in another colour were about.

    The second is the harder case: nothing tells the camera's exposure but the background.
    """
    people, measures, colours = source.described()
    alike = {colour: source.only(colour).described() for colour in ("black", "white")}
    predicted = np.empty((repeats, len(people), len(COLOURS)))
    alone: dict[str, list[np.ndarray]] = {colour: [] for colour in alike}
    for seed in range(repeats):
        fold_of = folds(colours, seed)
        for fold in range(FOLDS):
            held_out = fold_of == fold
            model = fit(measures[~held_out], colours[~held_out].tolist())
            predicted[seed, held_out] = model.probabilities(measures[held_out])
            unknown = {pid for pid, out in zip(people, held_out, strict=True) if out}
            for colour, (pids, apart, _) in alike.items():
                alone[colour].append(model.probabilities(apart[[pid in unknown for pid in pids]]))
    results = {"cuhk03": scores(predicted.reshape(-1, len(COLOURS)), np.tile(colours, repeats))}
    for colour, parts in alone.items():
        rows = np.concatenate(parts)
        results[f"cuhk03, all in {colour}"] = {"recall": scores(rows, [colour] * len(rows))[colour]["recall"]}
    return results


def folds(colours: np.ndarray, seed: int) -> np.ndarray:
    """(I,) a fold for each identity; every colour is shared out evenly."""
    rng = np.random.default_rng(seed)
    fold_of = np.empty(len(colours), dtype=int)
    for colour in COLOURS:
        rows = rng.permutation(np.flatnonzero(colours == colour))
        fold_of[rows] = np.arange(len(rows)) % FOLDS
    return fold_of


def transferred(source: Labelled, model: ColourModel | None = None) -> dict[str, Any]:
    """Results of fixed coefficients."""
    _, measures, colours = source.described()
    return scores((model or fitted()).probabilities(measures), colours)


def scores(probabilities: np.ndarray, colours: Sequence[str] | np.ndarray) -> dict[str, Any]:
    """Precision, recall and F1 of each colour, the confusion matrix (rows are labels), and who is sure."""
    decisions = decide(probabilities)
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
