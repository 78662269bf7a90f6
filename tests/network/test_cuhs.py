"""The whole network: variants as mappings of streams, retrieval feature, frozen localiser."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from cuhs.errors import CuhsError
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl, parameter_mib
from cuhs.training.config import ReIDTraining
from cuhs.training.reid import Classified
from cuhs.training.schedule import adam

PEERS = Path(__file__).parents[2] / "pipelines/conf/variant/peer"
BN, IN, LEARNED = {"kind": "global"}, {"kind": "instance", "top_k": 2}, {"kind": "part"}


def config(streams: dict[str, dict], **options: object) -> NetworkConfig:
    return NetworkConfig.model_validate(
        {"backbone": "mobilenet_v2", "weights": "none", "channels": 8, "streams": streams} | options
    )


VARIANTS = {
    "baseline": ({"global": BN | {"reduced": False}}, {"global": 1280}),
    "bn": ({"bn": BN}, {"bn": 8}),
    "one_in": ({"in": IN | {"branches": 1}}, {"in": 8}),
    "two_in": ({"in": IN}, {"in1": 8, "in2": 8}),
    "stripes": (
        {"bn": BN, "body": {"kind": "stripes", "parts": 2, "whole": True}},
        {"bn": 8, "body": 8, "body1": 8, "body2": 8},
    ),
    "thirds": (
        {name: {"kind": "part", "region": name} for name in ("upper", "middle", "lower")},
        {"upper": 8, "middle": 8, "lower": 8},
    ),
    "fused": (
        {"bn": BN, "in": IN, "head_shoulder": LEARNED, "leg": {"kind": "part", "region": "lower"}},
        {"bn": 8, "in1": 8, "in2": 8, "head_shoulder": 8, "leg": 8},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_a_mapping_of_streams(variant: str) -> None:
    streams, widths = VARIANTS[variant]
    c = config(streams)
    model = CUHS(c, make_hsl(c) if c.learned_stream else None)
    images = torch.rand(2, 3, 64, 32)
    (features, maps), boxes = model.features_and_maps(images), model.boxes(images)
    assert {name: tuple(f.shape) for name, f in features.items()} == {n: (2, w) for n, w in widths.items()}
    assert {name: tuple(m.shape) for name, m in maps.items()} == dict.fromkeys(widths, (2, 1280, 4, 2))
    assert model.widths == widths and list(features) == list(widths)
    if c.learned_stream:
        assert boxes.shape == (2, 4) and (boxes >= 0).all() and (boxes <= 1).all()
    else:
        assert boxes is None and model.localiser is None


def test_streams_share_no_parameters(tiny_network: CUHS) -> None:
    pieces = [tiny_network.base, tiny_network.localiser, *tiny_network.streams, *tiny_network.streams[1].blocks]
    pointers = [{p.data_ptr() for p in piece.parameters()} for piece in pieces[:5]]
    assert len(set.union(*pointers)) == sum(map(len, pointers)) == len(list(tiny_network.parameters()))
    first, second = ({p.data_ptr() for p in block.parameters()} for block in tiny_network.streams[1].blocks)
    assert not first & second


def test_a_streams_gradient_reaches_itself_and_the_base_only(tiny_network: CUHS) -> None:
    tiny_network(torch.rand(2, 3, 64, 32))["head_shoulder"].square().sum().backward()
    bn, instance, part = tiny_network.streams
    assert all(p.grad is not None for piece in (tiny_network.base, part) for p in piece.parameters())
    others = (bn, instance, tiny_network.localiser)
    assert all(p.grad is None for piece in others for p in piece.parameters())


def test_the_retrieval_feature_is_the_branches_at_unit_length_side_by_side(tiny_network: CUHS) -> None:
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        features, embedded = tiny_network(images), tiny_network.embed(images).numpy()
    expected = []
    for name in ("bn", "in1", "in2", "head_shoulder"):
        rows = features[name].numpy().astype(np.float64)
        expected.append(np.array([row / np.sqrt((row**2).sum()) for row in rows]))
    assert embedded.shape == (3, 32) and embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-6)


def test_a_neck_normalises_what_is_classified_and_retrieved_but_not_the_metric_feature() -> None:
    model = CUHS(config({"bn": BN}, neck="batchnorm"))
    neck = model.necks["bn"]
    assert neck.weight.requires_grad and not neck.bias.requires_grad
    with torch.no_grad():
        neck.running_mean.normal_()
        neck.running_var.uniform_(0.5, 2)
        neck.weight.normal_()
    model.eval()
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        feature = model(images)["bn"]
        expected = (feature - neck.running_mean) / (neck.running_var + 1e-5).sqrt() * neck.weight
        torch.testing.assert_close(model.classified({"bn": feature})["bn"], expected)
        unit = expected / expected.square().sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(model.embed(images), unit)


def test_size_in_mib_is_four_bytes_a_parameter() -> None:
    assert parameter_mib(torch.nn.Linear(1024, 256)) == pytest.approx(1 + 256 * 4 / 2**20)


# ResNet-50 without its classifier: the stem, two stages and res_conv4_1, and what is left of it.
RES_CONV4_1 = 512 * 256 + 256 * 256 * 9 + 256 * 1024 + 512 * 1024 + 2 * (256 + 256 + 1024 + 1024)
BASE = 9_536 + 215_808 + 1_219_584 + RES_CONV4_1
TAIL, WIDTH = 23_508_032 - BASE, 2048


@pytest.mark.parametrize(
    ("variant", "parameters", "mined"),
    [
        ("pcb", BASE + TAIL + 6 * WIDTH * 256, []),
        # The paper's Table 2 has 262.5 MiB for MGN, which is this.
        ("mgn", BASE + 3 * TAIL + 8 * WIDTH * 256, ["global", "two", "three"]),
    ],
)
def test_the_peers_of_table_2_have_their_size_and_compare_whole_maps(
    variant: str, parameters: int, mined: list[str]
) -> None:
    streams = yaml.safe_load((PEERS / f"{variant}.yaml").read_text())["network"]["streams"]
    model = CUHS(config(streams, backbone="resnet50", channels=256))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert list(model.mined) == mined


def test_only_whole_maps_enter_the_metric_loss_and_all_branches_are_classified() -> None:
    model = Classified(CUHS(config({"body": {"kind": "stripes", "parts": 2, "whole": True}})), identities=3)
    features, logits = model(torch.rand(2, 3, 64, 32))
    assert list(features) == ["body"]
    assert {name: tuple(logit.shape) for name, logit in logits.items()} == dict.fromkeys(
        ("body", "body1", "body2"), (2, 3)
    )


# Configurations that cannot be


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"a": LEARNED, "b": LEARNED}, "only one stream can learn its region, found a, b"),
        ({}, "at least 1"),
        ({"bn": {"kind": "local"}}, "does not match any of the expected tags"),
        ({"bn": {"kind": "global", "top_k": 5}}, "Extra inputs"),
        ({"in": IN | {"branches": 3}}, "1 or 2"),
        ({"in": IN | {"top_k": -1}}, "greater than or equal to 0"),
        ({"hs": LEARNED | {"size": (0, 4)}}, "greater than or equal to 1"),
        ({"in": IN, "in1": BN}, "two streams have a feature called in1"),
        ({"body": {"kind": "stripes"}, "body6": BN}, "two streams have a feature called body6"),
        ({"body": {"kind": "stripes", "parts": 1}}, "greater than or equal to 2"),
        ({"head.shoulder": BN}, "match pattern"),
    ],
)
def test_an_impossible_mapping_of_streams_is_refused(streams: dict[str, dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(streams)


def test_a_learned_region_needs_a_localiser() -> None:
    with pytest.raises(CuhsError, match=r"network\.streams\.head: a learned region needs a trained localiser"):
        CUHS(config({"head": LEARNED}))


def test_a_localiser_is_left_out_where_no_region_is_learned() -> None:
    c = config({"bn": BN})
    assert CUHS(c, make_hsl(c)).localiser is None


# Freezing


def test_training_leaves_the_localiser_bit_for_bit_and_changes_the_rest(tiny_config: NetworkConfig) -> None:
    torch.manual_seed(0)
    hsl = make_hsl(tiny_config)
    torch.nn.init.normal_(hsl.fc.weight, std=0.05)  # so that boxes depend on the image
    model = Classified(CUHS(tiny_config, hsl), identities=4)
    optimizer = adam(model, ReIDTraining(epochs=1, lr=1e-2))
    images, labels = torch.randn(8, 3, 64, 32), torch.arange(8) % 4
    before = {key: value.clone() for key, value in model.state_dict().items()}
    boxes = model.network.boxes(images)
    assert boxes.std(0).max() > 0
    for _ in range(3):
        model.train()
        features, logits = model(images)
        losses = [torch.nn.functional.cross_entropy(logit, labels) for logit in logits.values()]
        (sum(losses) + sum(f.square().mean() for f in features.values())).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(model.network.boxes(images), boxes)
    localiser = {key for key in before if key.startswith("network.localiser.")}
    assert any(key.endswith("running_var") for key in localiser)
    after = model.state_dict()
    assert {key for key in before if torch.equal(before[key], after[key])} == localiser
