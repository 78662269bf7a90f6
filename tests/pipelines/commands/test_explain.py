"""``cuhs explain``: a sheet for each image, and what cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cuhs.data.shards import write_shard
from cuhs.export import ModelCard, save
from cuhs.network.cuhs import CUHS
from pipelines.commands.explain import main
from tests.conftest import row


@pytest.fixture
def model(tiny_network: CUHS, tmp_path: Path) -> Path:
    card = ModelCard(network=tiny_network.config, height=64, width=32, localises=True)
    save(tiny_network, card, tmp_path / "model")
    return tmp_path / "model"


def test_files_and_images_of_the_dataset_get_a_sheet_and_bad_ones_are_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 80), 60).convert("RGB").save("me.jpg")
    Path("broken.jpg").write_bytes(b"no image")
    made = row(np.random.default_rng(0), "0001", 1, 0, [0.1, 0.0, 0.9, 0.3])
    for split in ("query", "gallery", "train"):
        write_shard(Path("data/dataset") / split / "made-00000.parquet", [made])
    named = f"{made['source']}/{made['path']}"
    assert main(["me.jpg", "broken.jpg", "absent.jpg", named, "--model", str(model), "-o", "out"]) == 0
    said = capsys.readouterr().err
    assert "broken.jpg: left out (" in said
    assert "absent.jpg: left out (no such file, and no such image in the built dataset)" in said
    sheets = {path.name: np.asarray(Image.open(path)) for path in sorted(Path("out").iterdir())}
    assert sorted(sheets) == sorted(["me.png", f"{named.replace('/', '_').rpartition('.')[0]}.png"])
    annotated = np.array([0x36, 0xC5, 0xF0])
    has_box = {name: bool((sheet == annotated).all(-1).any()) for name, sheet in sheets.items()}
    assert has_box["me.png"] is False
    assert sum(has_box.values()) == 1
    # The image, its box, and four branches.
    assert sheets["me.png"].shape[1] == 6 * (160 + 4)


def test_nothing_to_draw_is_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["absent.jpg", "--model", str(model)]) == 2
    assert "error: absent.jpg: neither this nor another of the 1 images can be read" in capsys.readouterr().err
    assert main(["absent.jpg", "--model", "nowhere"]) == 2
    assert "error: nowhere" in capsys.readouterr().err
