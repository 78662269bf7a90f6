"""The streams of the network: each maps the shared base's output to named features (N, c).

A network is a set of streams; the paper's ablations are other sets.
"""

from torch import Tensor, nn

from cuhs.network.attention import HAN, exploration_mask
from cuhs.network.backbone import Backbone
from cuhs.network.config import GlobalStream, InstanceStream, PartStream, StripesStream
from cuhs.network.head_shoulder import crop
from cuhs.network.pooling import GAP, pooling

THIRDS = {"upper": 0, "middle": 1, "lower": 2}


class Reduction(nn.Module):
    """1×1 convolution of a pooled feature from C to c channels; without c, the feature stays as it is."""

    def __init__(self, width: int, channels: int | None) -> None:
        super().__init__()
        self.width = channels or width
        self.project = nn.Linear(width, channels, bias=False) if channels else nn.Identity()

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (N, C) to (N, c); on a 1×1 map a convolution is a linear layer."""
        return self.project(pooled)


class Global(nn.Module):
    """BN stream: the BN block computes F^BN, which is pooled and reduced to f^BN (section 3.2)."""

    def __init__(self, name: str, parts: Backbone, config: GlobalStream, channels: int) -> None:
        super().__init__()
        self.name = name
        self.block = parts.block()
        self.pool = pooling(config.pooling)
        self.reduce = Reduction(parts.width, channels if config.reduced else None)
        self.widths = {name: self.reduce.width}

    def forward(self, base: Tensor, theta: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map the base's output (N, B, H, W) to {name: feature (N, c)} and {name: map (N, C, H, W)}."""
        features = self.block(base)
        return {self.name: self.reduce(self.pool(features))}, {self.name: features}


class Instance(nn.Module):
    """IN stream: one IN branch, or two, where the second explores what the first overlooks (section 3.3)."""

    def __init__(self, name: str, parts: Backbone, config: InstanceStream, channels: int) -> None:
        super().__init__()
        self.peaks = config.peaks
        self.names = config.names(name)
        self.blocks = nn.ModuleList(parts.instance_block() for _ in self.names)
        self.reduces = nn.ModuleList(Reduction(parts.width, channels) for _ in self.names)
        self.pool = GAP()
        self.widths = dict.fromkeys(self.names, channels)

    def forward(self, base: Tensor, theta: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map the base's output to f^IN_1 and f^IN_2, and to the maps F_1 and F'_2 = F_2 ⊙ A' (Eq. 6)."""
        maps = [block(base) for block in self.blocks]
        if len(maps) == 2:
            maps[1] = maps[1] * exploration_mask(maps[0], self.peaks(maps[0].shape[2] * maps[0].shape[3]))
        features = [reduce(self.pool(m)) for reduce, m in zip(self.reduces, maps, strict=True)]
        return dict(zip(self.names, features, strict=True)), dict(zip(self.names, maps, strict=True))


class Part(nn.Module):
    """Stream on one region: BN block, crop, HAN, pooling and reduction to f_h (section 3.4)."""

    def __init__(self, name: str, parts: Backbone, config: PartStream, channels: int) -> None:
        super().__init__()
        self.name = name
        self.region = config.region
        self.size = config.size
        self.block = parts.block()
        self.attention = HAN(parts.width, config.reduction, config.spatial) if config.attention else nn.Identity()
        self.pool = pooling(config.pooling)
        self.reduce = Reduction(parts.width, channels)
        self.widths = {name: channels}

    def forward(self, base: Tensor, theta: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map the base's output, and T_θ (N, 4) if the region is learned, to f_h and its map F_3."""
        features = self.block(base)
        attended = self.attention(self._cut(features, theta))
        return {self.name: self.reduce(self.pool(attended))}, {self.name: features}

    def _cut(self, features: Tensor, theta: Tensor | None) -> Tensor:
        if theta is not None and self.region == "learned":
            return crop(features, theta, self.size or (-(-features.shape[2] // 3), features.shape[3]))
        return features.tensor_split(3, dim=2)[THIRDS[self.region]]


class Stripes(nn.Module):
    """Stream of stripes: BN block, then pooling and reduction of each stripe, and of the whole map if it counts."""

    def __init__(self, name: str, parts: Backbone, config: StripesStream, channels: int) -> None:
        super().__init__()
        self.parts, self.whole = config.parts, config.whole
        self.block = parts.block()
        self.pool = pooling(config.pooling)
        names = config.names(name)
        self.reduces = nn.ModuleDict({each: Reduction(parts.width, channels) for each in names})
        self.widths = dict.fromkeys(names, channels)
        self.unmined = frozenset(names[config.whole :])

    def forward(self, base: Tensor, theta: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map the base's output to {name: feature (N, c)}, and {name: map (N, C, H, W)}, the whole map for each."""
        features = self.block(base)
        stripes = [features] * self.whole + self._cut(features)
        pooled = zip(self.reduces.items(), stripes, strict=True)
        return {name: reduce(self.pool(part)) for (name, reduce), part in pooled}, dict.fromkeys(
            self.widths, features
        )

    def _cut(self, features: Tensor) -> list[Tensor]:
        """Cut into stripes as adaptive pooling does: they overlap where the rows do not divide."""
        rows, parts = features.shape[2], self.parts
        return [features[:, :, i * rows // parts : -(-(i + 1) * rows // parts)] for i in range(parts)]
