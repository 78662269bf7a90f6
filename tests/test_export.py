"""Saved models: the same answers after loading, whatever the identities; damage is a one-line error."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cuhs.errors import CuhsError
from cuhs.export import CARD, WEIGHTS, ModelCard, load, load_hsl, save, save_hsl
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.reid import Classified


@pytest.fixture
def card(tiny_config: NetworkConfig) -> ModelCard:
    return ModelCard(network=tiny_config, height=64, width=32, localises=True, about={"variant": "cuhs"})


@pytest.fixture
def saved(tiny_network: CUHS, card: ModelCard, tmp_path: Path) -> Path:
    save(tiny_network, card, tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(CuhsError) as error:
        load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_loaded_model_answers_as_the_saved_one(tiny_network: CUHS, card: ModelCard, saved: Path) -> None:
    model, found = load(saved)
    images = torch.rand(3, 3, 64, 32)
    assert found == card and not model.training
    with torch.no_grad():
        assert torch.equal(model.embed(images), tiny_network.embed(images))
        assert torch.equal(model.boxes(images), tiny_network.boxes(images))


def test_a_channels_last_model_is_saved_all_the_same(tiny_network: CUHS, card: ModelCard, tmp_path: Path) -> None:
    save(tiny_network.to(memory_format=torch.channels_last), card, tmp_path)
    loaded = load(tmp_path)[0].state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in tiny_network.state_dict().items())


def test_the_order_of_streams_survives(tmp_path: Path) -> None:
    streams = {"z": {"kind": "global"}, "a": {"kind": "instance", "branches": 1}}
    config = NetworkConfig.model_validate(
        {"backbone": "mobilenet_v2", "weights": "none", "channels": 4, "streams": streams}
    )
    save(CUHS(config), ModelCard(network=config, height=64, width=32, localises=False), tmp_path)
    assert list(load(tmp_path)[0].widths) == ["z", "a"]


def test_the_file_holds_no_classifier_and_loads_under_any_number_of_identities(
    tiny_network: CUHS, saved: Path
) -> None:
    names = set(load_file(saved / WEIGHTS))
    assert names == set(tiny_network.state_dict()) and not any("classifier" in name for name in names)
    for identities in (3, 1000):
        model = Classified(load(saved)[0], identities)
        assert model(torch.rand(2, 3, 64, 32))[1]["bn"].shape == (2, identities)


def test_pretrained_weights_are_not_asked_for_again(saved: Path) -> None:
    described = json.loads((saved / CARD).read_text())
    described["network"]["weights"] = "gone.pt"
    (saved / CARD).write_text(json.dumps(described))
    assert load(saved)[1].network.weights == "gone.pt"


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert refusal(saved).startswith(f"{saved / name}: missing")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * 64 + b[64:]])
def test_damaged_weights_are_refused(saved: Path, damage: object) -> None:
    file = saved / WEIGHTS
    file.write_bytes(damage(file.read_bytes()))
    assert refusal(saved).startswith(f"{file}: damaged")


NAME = "streams.0.reduce.project.weight"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda tensors: tensors.pop(NAME), f"it lacks {NAME}"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "it also holds more"),
        (lambda tensors: tensors.update({NAME: tensors[NAME][1:].clone()}), f"{NAME} has the shape"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_first_difference(
    saved: Path, changed: Callable[[dict[str, torch.Tensor]], object], said: str
) -> None:
    tensors = load_file(saved / WEIGHTS)
    changed(tensors)
    save_file(tensors, saved / WEIGHTS)
    assert refusal(saved).startswith(f"{saved / WEIGHTS}: not the weights of {saved / CARD} ({said}")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_weights_that_are_no_file_are_refused(saved: Path, make: Callable[[Path], None]) -> None:
    (saved / WEIGHTS).unlink()
    make(saved / WEIGHTS)
    assert refusal(saved).startswith(f"{saved / WEIGHTS}: not a file; ")


def test_a_model_that_cannot_be_saved_leaves_the_one_before(
    tiny_network: CUHS, card: ModelCard, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        write(path, content[:9])
        raise OSError(28, "No space left on device")

    before, write = (saved / WEIGHTS).read_bytes(), Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(tiny_network, card, saved)
    assert (saved / WEIGHTS).read_bytes() == before and len(list(saved.iterdir())) == 2


def test_a_folder_may_be_text(saved: Path, tiny_network: CUHS, card: ModelCard, tmp_path: Path) -> None:
    save(tiny_network, card, str(tmp_path / "again"))
    assert load(str(saved))[1] == load(str(tmp_path / "again"))[1]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"height": 64}', "\ufffd"],
)
def test_a_damaged_card_is_refused(saved: Path, text: str) -> None:
    (saved / CARD).write_text(text)
    assert refusal(saved).startswith(f"{saved / CARD}: not a model card")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("height", -5, "greater than or equal to 32"),
        ("width", 10**9, "less than or equal to 2048"),
        ("network.channels", 10**6, "less than or equal to 8192"),
        ("network.streams.bn.reduced", "much", "valid boolean"),
        ("network.streams.head.size", [10**6, 10**6], "less than or equal to 256"),
        ("network.streams.head.reduction", 0, "greater than or equal to 1"),
        ("network.streams", {f"s{i}": {"kind": "global"} for i in range(400)}, "at most 16 items"),
    ],
)
def test_a_number_without_bounds_is_refused_with_what_is_allowed_before_anything_is_made(
    saved: Path, key: str, value: object, allowed: str
) -> None:
    described = json.loads((saved / CARD).read_text())
    described["network"]["streams"]["head"] = {"kind": "part", "region": "upper"}
    *path, last = key.split(".")
    place = described
    for name in path:
        place = place[name]
    place[last] = value
    (saved / CARD).write_text(json.dumps(described))
    said = refusal(saved)
    assert last in said and allowed in said and len(said) < 800


def test_a_card_that_is_nested_deeply_is_refused(saved: Path) -> None:
    (saved / CARD).write_text('{"about": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001)
    assert refusal(saved).startswith(f"{saved / CARD}: not a model card")


@pytest.mark.parametrize("where", ["top", "network"])
def test_an_unknown_key_in_the_card_is_refused(saved: Path, where: str) -> None:
    described = json.loads((saved / CARD).read_text())
    (described if where == "top" else described["network"])["colour"] = "red"
    (saved / CARD).write_text(json.dumps(described))
    assert refusal(saved).startswith(f"{saved / CARD}: not a model card")


def test_a_localiser_is_the_same_after_loading(tiny_config: NetworkConfig, card: ModelCard, tmp_path: Path) -> None:
    hsl = make_hsl(tiny_config)
    torch.nn.init.normal_(hsl.fc.weight)
    save_hsl(hsl, card, tmp_path)
    images = torch.rand(2, 3, 64, 32)
    assert torch.equal(load_hsl(tmp_path).eval()(images), hsl.eval()(images))


def test_a_localiser_is_no_network_and_the_other_way_round(
    tiny_config: NetworkConfig, card: ModelCard, saved: Path, tmp_path: Path
) -> None:
    save_hsl(make_hsl(tiny_config), card, tmp_path / "hsl")
    assert "not the weights of" in refusal(tmp_path / "hsl")
    with pytest.raises(CuhsError, match="not the weights of"):
        load_hsl(saved)


def test_saving_again_replaces(tiny_network: CUHS, card: ModelCard, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    save(tiny_network, card, saved)
    for name in (WEIGHTS, CARD):
        assert (saved / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()


def test_a_compiled_or_distributed_network_is_saved_under_the_network_s_own_names(
    tiny_network: CUHS, card: ModelCard, saved: Path, tmp_path: Path
) -> None:
    wrapped = torch.nn.Module()
    wrapped.module = torch.compile(tiny_network)
    save(wrapped, card, tmp_path / "wrapped")  # type: ignore[arg-type]
    assert (tmp_path / "wrapped" / WEIGHTS).read_bytes() == (saved / WEIGHTS).read_bytes()


def test_others_may_read_a_model_as_far_as_the_umask_lets_them(saved: Path) -> None:
    assert len({(saved / name).stat().st_mode for name in (WEIGHTS, CARD)}) == 1
