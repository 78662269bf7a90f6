"""Backbones split at ``res_conv4_1``: a shared base, and the rest, which every branch copies."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from cuhs.errors import CuhsError
from cuhs.network.normalisation import with_instance_norm

# Under these names checkpoints of other trainings keep their state dict.
WRAPPERS = ("state_dict", "model", "network")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """A backbone in two parts.

    Attributes:
        base: maps images (N, 3, H, W) to the output of ``res_conv4_1``, (N, base_width, H/16, W/16).
        rest: maps that to the last feature map, (N, width, H/16, W/16); its last stride is 1.
        base_width: channels of the base's output.
        width: channels of the last feature map, C in the paper.
    """

    base: nn.Module
    rest: nn.Module
    base_width: int
    width: int

    def block(self) -> nn.Module:
        """Copy the rest as a branch with batch normalisation: the BN block."""
        return copy.deepcopy(self.rest)

    def instance_block(self) -> nn.Module:
        """Copy the rest as a branch with every BN layer replaced by an IN layer: the IN block (section 3.3)."""
        return with_instance_norm(copy.deepcopy(self.rest))


def backbone(name: str, weights: str) -> Backbone:
    """Build a backbone.

    Args:
        name: ``resnet18``, ``resnet34``, ``resnet50`` or ``mobilenet_v2``.
        weights: ``none`` for random weights, ``imagenet`` for torchvision's (downloaded once), or a file with
            a state dict of torchvision's network of that name (the classifier is not needed), also inside a
            checkpoint and with a prefix before the names, as networks that were pretrained on people come.

    Raises:
        CuhsError: the weights cannot be downloaded or read, or do not fit the network.
    """
    if name == "mobilenet_v2":
        return _mobilenet_v2(_with_weights(name, models.mobilenet_v2, weights))
    if name in {"resnet18", "resnet34", "resnet50"}:
        return _resnet(_with_weights(name, getattr(models, name), weights))
    raise CuhsError(f"network.backbone: {name!r} is none of resnet18, resnet34, resnet50, mobilenet_v2")


def _resnet(net: models.ResNet) -> Backbone:
    first = net.layer4[0]
    # Set the last stride to 1. The 3×3 convolution strides in a bottleneck, the first one in a basic block.
    strided = first.conv2 if hasattr(first, "conv3") else first.conv1
    strided.stride = (1, 1)
    first.downsample[0].stride = (1, 1)
    base = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3[0])
    rest = nn.Sequential(*net.layer3[1:], *net.layer4)
    return Backbone(base, rest, base_width=net.fc.in_features // 2, width=net.fc.in_features)


def _mobilenet_v2(net: models.MobileNetV2) -> Backbone:
    # The first block at stride 16 stands for res_conv4_1, the block that would go to stride 32 for res_conv5_1.
    net.features[14].conv[1][0].stride = (1, 1)
    return Backbone(net.features[:8], net.features[8:], base_width=64, width=net.last_channel)


def _with_weights(name: str, make: Callable[..., nn.Module], weights: str) -> nn.Module:
    if weights == "none":
        return make()
    if weights == "imagenet":
        try:
            return make(weights="IMAGENET1K_V1")
        except OSError as error:
            raise CuhsError(
                f"network.weights: torchvision's ImageNet weights for {name} cannot be downloaded ({error}); "
                "set it to a weights file, or to `none`"
            ) from error
    net = make()
    net.load_state_dict(_taken(_read(Path(weights)), net, weights))
    return net


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: a state dict, or a training's checkpoint that holds one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CuhsError(f"network.weights: {path}: no such file") from error
    except Exception as error:  # torch raises many types for a file that is no state dict
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CuhsError(f"network.weights: {path}: not a state dict that loads safely ({reason})") from error
    if not isinstance(state, dict):
        raise CuhsError(f"network.weights: {path}: not a state dict")
    inner = [state[key] for key in WRAPPERS if isinstance(state.get(key), dict)]
    tensors = {key: value for key, value in (inner or [state])[0].items() if isinstance(value, Tensor)}
    if state and not tensors:
        raise CuhsError(f"network.weights: {path}: not a state dict")
    return tensors


def _taken(state: dict[str, Tensor], net: nn.Module, origin: str) -> dict[str, Tensor]:
    """Return the network's state dict, filled with the file's tensors.

    Other trainings put a prefix before the names (``module.encoder_q.``), which is found. Other implementations name
    the tensors differently but keep their order; then they are matched by order, and their shapes are checked.
    """
    target = net.state_dict()
    wanted = _body(target)
    prefix = _prefix(state, wanted)
    given = _body({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    parts = {key.partition(".")[0] for key in wanted}
    if wanted.keys() <= given.keys() and not any(key.partition(".")[0] in parts for key in given.keys() - wanted):
        taken = {key: given[key] for key in wanted}
    else:
        given = _body(state)
        taken = dict(zip(wanted, given.values(), strict=True)) if len(given) == len(wanted) else {}
    if not taken or any(taken[key].shape != value.shape for key, value in wanted.items()):
        raise CuhsError(
            f"network.weights: {origin}: its tensors do not fit this backbone ({len(wanted)} tensors are needed, "
            f"{sum(key in given for key in wanted)} of these names are in the file)"
        )
    _say_once(
        f"network.weights: {origin}: {len(taken)} tensors loaded, {len(state) - len(taken)} in the file not used"
    )
    return {**target, **taken}


def _prefix(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """The prefix under which a file has the most of the wanted names; the first in the file if there are several."""
    first = next(iter(wanted))
    prefixes = [key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")]
    return max(prefixes, key=lambda prefix: sum(prefix + key in state for key in wanted), default="")


@cache
def _say_once(line: str) -> None:
    log.info(line)


def _body(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the classifier, and BN's counts of batches, which are unused here and missing in older files."""
    return {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier.")) and v.ndim > 0}
