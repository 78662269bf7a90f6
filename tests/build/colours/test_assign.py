"""Colours of people without a label, in a build."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cuhs.data.shards import read_split
from cuhs.raw.config import Source

SHIRTS = {1: (14, 14, 16), 2: (60, 130, 70), 3: (170, 40, 40)}


def crop(path: Path, pid: int, seed: int) -> None:
    """A person before a street: skin and hair above, a shirt, trousers."""
    rng = np.random.default_rng(seed)
    pixels = np.full((128, 64, 3), (140, 135, 125), float)
    pixels[4:24, 22:42] = (180, 140, 120)
    pixels[2:8, 22:42] = (40, 30, 25)
    pixels[24:72, 12:52] = SHIRTS[pid % 3 + 1]
    pixels[72:124, 16:48] = (60, 65, 90)
    pixels[:40] += 40 * (pixels[:40] == (140, 135, 125))
    Image.fromarray((pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def people(tmp_path: Path) -> Source:
    """Twelve people in two cameras, black, green and red shirts by turns; one of them labelled, wrongly."""
    folder = tmp_path / "own"
    folder.mkdir()
    for pid in range(12):
        for camera in (1, 2):
            for frame in range(3):
                crop(folder / f"{pid}_c{camera}_{frame}.png", pid, pid * 10 + camera * 3 + frame)
    (tmp_path / "clothing.csv").write_text("pid,colour\n0,other\n")
    return Source(
        layout="pattern",
        folder=folder,
        pattern=r"(?P<pid>\d+)_c(?P<camid>\d)_(?P<frame>\d)",
        clothing=tmp_path / "clothing.csv",
        classify=True,
    )


def colours(root: Path) -> dict[str, tuple[str, str | None, float | None]]:
    """Colour, its origin and the classifier's probability of each identity."""
    columns = ["pid", "colour", "colour_origin", "colour_confidence"]
    return {
        row["pid"]: (row["colour"], row["colour_origin"], row["colour_confidence"])
        for split in ("train", "query", "gallery")
        for row in read_split(root, split, columns).to_pylist()
    }


def test_people_without_a_label_are_coloured_and_labels_stay(
    people: Source, built: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    summary = built({"own": people})
    found = colours(tmp_path / "out")
    assert found.pop("own/0000") == ("other", "label", None)
    assert {pid: colour for pid, (colour, _, _) in found.items()} == {
        f"own/{pid:04d}": ("black", "other", "other")[pid % 3] for pid in range(1, 12)
    }
    assert all(origin == "classifier" and 0.4 < sure <= 1 for _, origin, sure in found.values())
    assert summary["colour_origins"] == {"own": {"label": 1, "classifier": 11, "none": 0}}


def test_nobody_is_coloured_where_it_is_not_asked_for(
    people: Source, built: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    summary = built({"own": people.model_copy(update={"classify": False})})
    assert set(colours(tmp_path / "out").values()) == {("other", "label", None), ("other", None, None)}
    assert summary["colour_origins"] == {"own": {"label": 1, "classifier": 0, "none": 11}}
