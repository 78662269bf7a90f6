"""Eq. 3 and 4, the cut at res_conv4_1, last stride 1, and weights from files."""

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models

from cuhs.errors import CuhsError
from cuhs.network import backbone as backbone_module
from cuhs.network.backbone import backbone
from cuhs.network.normalisation import InstanceNorm

WIDTHS = {
    "resnet18": (256, 512),
    "resnet34": (256, 512),
    "resnet50": (1024, 2048),
    "mobilenet_v2": (64, 1280),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_both_pieces_keep_a_sixteenth_of_the_image(name: str) -> None:
    parts = backbone(name, "none")
    assert (parts.base_width, parts.width) == WIDTHS[name]
    with torch.no_grad():
        base = parts.base.eval()(torch.rand(1, 3, 96, 48))
        last = parts.rest.eval()(base)
    assert base.shape == (1, parts.base_width, 6, 3)
    assert last.shape == (1, parts.width, 6, 3)


@pytest.mark.parametrize(
    ("name", "cut"), [("resnet18", lambda net: net.layer3[0]), ("mobilenet_v2", lambda net: net.features[7])]
)
def test_the_base_ends_where_res_conv4_1_does(name: str, cut: object) -> None:
    torch.manual_seed(0)
    net = getattr(models, name)().eval()
    torch.manual_seed(0)
    base = backbone(name, "none").base.eval()
    caught = []
    cut(net).register_forward_hook(lambda _module, _inputs, output: caught.append(output.clone()))
    image = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        net(image)
        assert torch.equal(base(image), caught[0])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_the_pieces_hold_the_whole_network_but_its_classifier(name: str) -> None:
    net = getattr(models, name)()
    head = net.fc if hasattr(net, "fc") else net.classifier
    parts = backbone(name, "none")
    count = sum(p.numel() for piece in (parts.base, parts.rest) for p in piece.parameters())
    assert count == sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in head.parameters())


def test_an_in_block_has_no_batch_statistics_and_starts_from_the_bn_blocks_affine() -> None:
    parts = backbone("mobilenet_v2", "none")
    for module in parts.rest.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    block = parts.instance_block()
    batch_norms = [m for m in parts.rest.modules() if isinstance(m, nn.BatchNorm2d)]
    instance_norms = [m for m in block.modules() if isinstance(m, InstanceNorm)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in block.modules())
    assert len(batch_norms) == len(instance_norms) > 10
    for bn, norm in zip(batch_norms, instance_norms, strict=True):
        assert torch.equal(bn.weight, norm.weight) and torch.equal(bn.bias, norm.bias)
        assert bn.weight.data_ptr() != norm.weight.data_ptr()
    # In training mode too, a sample's map owes nothing to its neighbours in the batch.
    x = torch.rand(4, 64, 4, 2)
    with torch.no_grad():
        torch.testing.assert_close(block.train()(x)[:1], block(x[:1]))


def test_blocks_are_copies() -> None:
    parts = backbone("mobilenet_v2", "none")
    pointers = [p.data_ptr() for block in (parts.rest, parts.block(), parts.block()) for p in block.parameters()]
    assert len(pointers) == len(set(pointers))


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(CuhsError, match=r"network\.backbone.*'vgg'"):
        backbone("vgg", "none")


# Weights from files


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    net = models.resnet18()
    return {key: torch.rand_like(value.float()).to(value.dtype) for key, value in net.state_dict().items()}


def parameters(name: str, file: Path) -> dict[str, torch.Tensor]:
    parts = backbone(name, str(file))
    return {**parts.base.state_dict(prefix="base."), **parts.rest.state_dict(prefix="rest.")}


def assert_loaded(found: dict[str, torch.Tensor], published: dict[str, torch.Tensor]) -> None:
    assert torch.equal(found["base.0.weight"], published["conv1.weight"])
    assert torch.equal(found["base.6.bn2.running_var"], published["layer3.0.bn2.running_var"])
    assert torch.equal(found["rest.0.conv1.weight"], published["layer3.1.conv1.weight"])
    assert torch.equal(found["rest.2.bn2.bias"], published["layer4.1.bn2.bias"])


def without_classifier(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


@pytest.mark.parametrize(
    "rename",
    [
        lambda state: dict(sorted(state.items(), reverse=True)),  # by name, in any order
        without_classifier,
        lambda state: {f"encoder.{k}": v for k, v in without_classifier(state).items()},
        lambda state: {f"{i}": v for i, v in enumerate(without_classifier(state).values())},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {f"module.{k}": v for k, v in state.items()},
        # As MoCo leaves them: the trained encoder, its running mean, a queue, and the optimiser's state.
        lambda state: {
            "epoch": 200,
            "arch": "resnet18",
            "state_dict": {
                **{f"module.encoder_q.{k}": v for k, v in state.items()},
                "module.encoder_q.fc.2.bias": torch.zeros(128),
                **{f"module.encoder_k.{k}": torch.zeros_like(v) for k, v in state.items()},
                "module.queue": torch.zeros(128, 64),
            },
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        },
        lambda state: {"model": {f"backbone.{k}": v for k, v in state.items()}},
    ],
    ids=["shuffled", "headless", "prefixed", "numbered", "older", "parallel", "moco", "wrapped"],
)
def test_weights_load_by_name_or_by_order_and_shape(
    tmp_path: Path, published: dict[str, torch.Tensor], rename: object
) -> None:
    torch.save(rename(published), tmp_path / "w.pt")
    assert_loaded(parameters("resnet18", tmp_path / "w.pt"), published)


def test_what_was_loaded_is_said_once(
    tmp_path: Path, published: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(
        {**{f"module.{k}": v for k, v in published.items()}, "module.queue": torch.zeros(3)}, tmp_path / "w.pt"
    )
    with caplog.at_level("INFO"):
        for _ in range(2):
            backbone("resnet18", str(tmp_path / "w.pt"))
    counts = sum(value.ndim == 0 for value in published.values())
    unused = counts + 2 + 1  # the classifier and the queue
    assert [record.getMessage() for record in caplog.records] == [
        f"network.weights: {tmp_path / 'w.pt'}: {len(published) - counts - 2} tensors loaded, {unused} in the file "
        "not used"
    ]


def one_line(error: pytest.ExceptionInfo[CuhsError]) -> str:
    message = str(error.value)
    assert message.startswith("network.weights: ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
        lambda state: {f"x.{k}": torch.zeros(1) if k == "conv1.weight" else v for k, v in state.items()},
        lambda _: models.resnet34().state_dict(),  # has every name and shape of ResNet-18, and more
        lambda _: {},
    ],
    ids=["shape", "renamed_shape", "larger", "empty"],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, published: dict[str, torch.Tensor], change: object
) -> None:
    torch.save(change(published), tmp_path / "wrong.pt")
    with pytest.raises(CuhsError, match="do not fit") as error:
        backbone("resnet18", str(tmp_path / "wrong.pt"))
    assert "wrong.pt" in one_line(error)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match="no such file") as error:
        backbone("resnet18", str(tmp_path / "absent.pt"))
    assert "absent.pt" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80", b"PK\x03\x04half a zip"])
def test_garbage_instead_of_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "garbage.pt").write_bytes(content)
    with pytest.raises(CuhsError, match="not a state dict") as error:
        backbone("resnet18", str(tmp_path / "garbage.pt"))
    assert "garbage.pt" in one_line(error)


class Touch:
    """What a malicious file would hold: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Touch(tmp_path / "ran")}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Touch(tmp_path / "ran"), protocol=2))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(CuhsError) as error:
            backbone("resnet18", str(tmp_path / name))
        one_line(error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"state_dict": {}}])
def test_something_else_than_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CuhsError, match="not a state dict") as error:
        backbone("resnet18", str(tmp_path / "other.pt"))
    one_line(error)


def test_no_network_for_imagenet_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(weights: str) -> nn.Module:
        raise URLError("no route to host")

    monkeypatch.setattr(backbone_module.models, "resnet18", unreachable)
    with pytest.raises(CuhsError, match="cannot be downloaded") as error:
        backbone("resnet18", "imagenet")
    assert "none" in one_line(error)
