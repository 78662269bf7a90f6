"""The whole network: a shared base, its streams, and the features they return."""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cuhs.errors import CuhsError
from cuhs.network.backbone import Backbone, backbone
from cuhs.network.config import GlobalStream, InstanceStream, NetworkConfig, StripesStream
from cuhs.network.head_shoulder import HSL, FrozenHSL, theta_to_box
from cuhs.network.streams import Global, Instance, Part, Stripes


class CUHS(nn.Module):
    """The network of Figure 3: a shared base and the streams that the configuration names.

    Args:
        config: configuration of the network.
        hsl: trained localiser, required if a stream learns its region; it is frozen.
        pretrained: whether to load ``config.weights``; false if weights are loaded afterwards.

    Attributes:
        widths: {branch: c}.
        mined: the branches whose features the metric loss compares: all but stripes.
    """

    def __init__(self, config: NetworkConfig, hsl: HSL | None = None, pretrained: bool = True) -> None:
        super().__init__()
        parts = backbone(config.backbone, config.weights if pretrained else "none")
        if config.learned_stream and hsl is None:
            raise CuhsError(f"network.streams.{config.learned_stream}: a learned region needs a trained localiser")
        self.config = config
        self.base = parts.base
        self.localiser = FrozenHSL(hsl) if hsl is not None and config.learned_stream else None
        self.streams = nn.ModuleList(
            _stream(name, parts, stream, config.channels) for name, stream in config.streams.items()
        )
        self.widths: dict[str, int] = {}
        for stream in self.streams:
            self.widths |= cast(dict[str, int], stream.widths)
        unmined = [stream.unmined for stream in self.streams if isinstance(stream, Stripes)]
        self.mined = tuple(name for name in self.widths if not any(name in names for names in unmined))
        self.necks = nn.ModuleDict({name: _neck(config.neck, width) for name, width in self.widths.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) to {branch: feature (N, c)}; the metric loss takes those of :attr:`mined`."""
        return self.features_and_maps(images)[0]

    def classified(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply the necks to features; the result, (N, c) each, is what classifiers and retrieval use."""
        return {name: self.necks[name](feature) for name, feature in features.items()}

    def embed(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the retrieval feature (N, Σc): all branches, each scaled to unit length.

        Unit length gives each branch the same weight in the Euclidean distance, whatever its scale.
        """
        features = self.classified(self(images))
        return torch.cat([F.normalize(feature.float()) for feature in features.values()], dim=1)

    def boxes(self, images: Tensor) -> Tensor | None:
        """Predict head-shoulder boxes (N, 4), x1 y1 x2 y2 in [0, 1]; None if no region is learned."""
        return None if self.localiser is None else theta_to_box(self.localiser(images)).clamp(0, 1)

    def features_and_maps(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the features of :meth:`forward`, and the map (N, C, H/16, W/16) that each branch pools."""
        theta = None if self.localiser is None else self.localiser(images)
        base = self.base(images)
        features: dict[str, Tensor] = {}
        maps: dict[str, Tensor] = {}
        for stream in self.streams:
            some_features, some_maps = stream(base, theta)
            features |= some_features
            maps |= some_maps
        return features, maps


def make_hsl(config: NetworkConfig, pretrained: bool = True) -> HSL:
    """Make a localiser whose trunk is the configured backbone up to ``res_conv4_1``."""
    parts = backbone(config.backbone, config.weights if pretrained else "none")
    return HSL(parts.base, parts.base_width)


def parameter_mib(module: nn.Module) -> float:
    """Return the size of the parameters in MiB as float32, the unit of the paper's Table 2."""
    return sum(p.numel() for p in module.parameters()) * 4 / 2**20


def _stream(name: str, parts: Backbone, stream: object, channels: int) -> nn.Module:
    if isinstance(stream, GlobalStream):
        return Global(name, parts, stream, channels)
    if isinstance(stream, InstanceStream):
        return Instance(name, parts, stream, channels)
    if isinstance(stream, StripesStream):
        return Stripes(name, parts, stream, channels)
    return Part(name, parts, stream, channels)  # type: ignore[arg-type]


def _neck(kind: str, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck
