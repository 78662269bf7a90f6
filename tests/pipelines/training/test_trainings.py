from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuhs.data.dataset import PersonImages
from cuhs.errors import CuhsError
from cuhs.training import flops
from cuhs.training.epoch import EpochPart
from cuhs.training.numerics import Numerics
from cuhs.training.reid import Classified
from pipelines.base import params
from pipelines.training import trainings
from pipelines.training.trainings import HslRun, ReIDRun, boxed_split

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def images(tiny_dataset: Path) -> PersonImages:
    found = PersonImages(tiny_dataset, "train", 64, 32)
    found.boxes = np.tile(np.float32([0.1, 0.0, 0.9, 0.3]), (len(found), 1))
    found.box_origins = np.array(["annotation", "fixed"] * (len(found) // 2))
    return found


def test_the_localiser_is_not_judged_by_boxes_that_were_put_at_a_fixed_place(images: PersonImages) -> None:
    trained, held = boxed_split(images, params.load(PARAMS))
    assert set(images.box_origins[held]) == {"annotation"}
    assert set(images.box_origins[trained]) == {"annotation", "fixed"}
    assert not set(images.pids[held]) & set(images.pids[trained])


def test_where_all_boxes_are_fixed_they_are_what_there_is_to_judge_by(images: PersonImages) -> None:
    images.box_origins[:] = "fixed"
    assert len(boxed_split(images, params.load(PARAMS))[1])


def test_without_boxes_one_line_says_what_to_give(images: PersonImages) -> None:
    images.boxes[:] = np.nan
    with pytest.raises(CuhsError, match=r"0 training images of \S+ have a head-shoulder box; give a `boxes` file"):
        boxed_split(images, params.load(PARAMS))


VALUES = {
    "image.height": 64,
    "image.width": 32,
    "network.channels": 8,
    "network.streams": {"in": {"kind": "instance", "top_k": 2}},
    "train.identities": 3,
    "train.images_per_identity": 2,
    "pretrain_hsl.batch": 4,
}


def trained(make: Any, dataset: Path, **values: Any) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The weights after an epoch, and its metrics."""
    p = params.with_values(params.load(PARAMS), {**VALUES, **values})
    training = make(p, {"dataset": str(dataset)}, torch.device("cpu"), 0, 1)
    with training.numerics.applied():
        metrics = training.epoch(0, EpochPart(), lambda done, steps: None)
    return training.model.state_dict(), metrics


@pytest.mark.parametrize(("make", "section"), [(ReIDRun, "train"), (HslRun, "pretrain_hsl")])
def test_utilisation_and_determinism_change_no_number_on_a_cpu(
    make: Any, section: str, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, metrics = trained(make, tiny_dataset)
    assert "mfu" not in metrics
    monkeypatch.setattr(flops, "device_name", lambda device: "NVIDIA L4")
    found, metrics = trained(make, tiny_dataset, **{f"{section}.deterministic": True})
    assert 0 < metrics["mfu"] < 1
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_training_computes_as_its_section_says(tiny_dataset: Path) -> None:
    values = {"train.precision": "tf32", "pretrain_hsl.deterministic": True}
    p = params.with_values(params.load(PARAMS), {**VALUES, **values})
    made = [make(p, {"dataset": str(tiny_dataset)}, torch.device("cpu"), 0, 1) for make in (ReIDRun, HslRun)]
    assert [training.numerics for training in made] == [Numerics("tf32"), Numerics("float32", True)]


def test_both_trainings_decode_the_training_images_once_in_the_machine_s_cache(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUHS_CACHE", str(tmp_path / "cache"))
    expected = [trained(make, tiny_dataset, **{"compute.decoded_mib": 0})[0] for make in (HslRun, ReIDRun)]
    assert not (tmp_path / "cache").exists()
    first = trained(HslRun, tiny_dataset)[0]
    monkeypatch.setattr(PersonImages, "_decode", lambda *_: pytest.fail("decoded again"))
    for found, there in zip((first, trained(HslRun, tiny_dataset)[0]), 2 * [expected[0]], strict=True):
        assert all(torch.equal(value, there[name]) for name, value in found.items())
    monkeypatch.undo()
    monkeypatch.setenv("CUHS_CACHE", str(tmp_path / "cache"))
    found, there = trained(ReIDRun, tiny_dataset)[0], expected[1]
    assert all(torch.equal(value, there[name]) for name, value in found.items())
    assert len(list((tmp_path / "cache" / "decoded").glob("*.pixels"))) == 1


def test_the_network_is_compiled_if_asked(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(trainings, "compile_in_place", lambda model, device: compiled.append(model))
    trained(ReIDRun, tiny_dataset)
    assert compiled == []
    trained(ReIDRun, tiny_dataset, **{"train.compile": True})
    assert [type(model) for model in compiled] == [Classified]
