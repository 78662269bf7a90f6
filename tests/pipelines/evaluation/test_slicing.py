from pathlib import Path

import numpy as np

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from pipelines.evaluation.slicing import slices


def test_slices_are_by_what_varies_only(tiny_dataset: Path) -> None:
    splits = {name: PersonImages(tiny_dataset, name, 64, 32) for name in ("query", "gallery")}
    rng = np.random.default_rng(0)
    features = {
        name: Features(rng.normal(size=(len(images), 4)), images.pids, images.camids, junk=images.junk)
        for name, images in splits.items()
    }
    whole = evaluate_groups(features["query"], features["gallery"], resamples=10)["all"]
    found = slices(splits, features, whole)
    # One source, no box, nothing stated about occlusion; queries are of camera 0 and the gallery of camera 1.
    assert list(found) == ["camera pair"]
    assert list(found["camera pair"]) == ["made/0 → made/1"]
    assert found["camera pair"]["made/0 → made/1"]["queries"] == 2
