"""Configuration of a network, as written in ``params.yaml`` and saved beside the weights."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cuhs.config import Config

Pooling = Literal["gap", "gmp", "gem"]
# Bounds are far beyond any use; a model file from elsewhere must not fill the memory.
Cells = Annotated[int, Field(ge=1, le=256)]
Height = Annotated[int, Field(ge=32, le=2048)]
Width = Annotated[int, Field(ge=16, le=2048)]


def _cells_or_share(peaks: int | float) -> int | float:
    if isinstance(peaks, float) and peaks >= 1:
        raise ValueError(f"a share of the map is below 1, and a number of cells is whole, got {peaks}")
    return peaks


Peaks = Annotated[int | float, Field(ge=0, le=2**14), AfterValidator(_cells_or_share)]


class GlobalStream(Config):
    """Whole-body stream with batch normalisation: the BN stream (section 3.2)."""

    kind: Literal["global"] = "global"
    pooling: Pooling = "gap"
    reduced: bool = Field(True, description="1×1 reduction to `channels`; false gives the backbone's own width")


class InstanceStream(Config):
    """Colour-unrelated IN stream (section 3.3); a second branch explores beyond the first one's top-k peaks."""

    kind: Literal["instance"] = "instance"
    branches: Literal[1, 2] = 2
    top_k: Peaks = Field(5, description="peaks of the first branch hidden from the second: cells, or a share below 1")

    def peaks(self, cells: int) -> int:
        """Return how many cells of a map are hidden; a share above 0 hides at least one."""
        if isinstance(self.top_k, int):
            return self.top_k
        return max(round(self.top_k * cells), 1 if self.top_k else 0)

    def names(self, stream: str) -> list[str]:
        """Return the names of the stream's features, one for each branch."""
        return [stream] if self.branches == 1 else [f"{stream}1", f"{stream}2"]


class PartStream(Config):
    """Stream on one body region (section 3.4): the learned head-shoulder box, or a fixed horizontal third."""

    kind: Literal["part"] = "part"
    region: Literal["learned", "upper", "middle", "lower"] = "learned"
    attention: bool = True
    spatial: Literal["sum", "mean"] = Field("sum", description="over channels in Eq. 11; the sum is 1.0 in all cells")
    pooling: Pooling = "gem"
    size: tuple[Cells, Cells] | None = Field(None, description="crop h×w in cells; none: a third of the map")
    reduction: int = Field(2, ge=1, le=64, description="r of the channel attention")


class StripesStream(Config):
    """Stream cut into horizontal stripes, each a feature of its own (PCB, Sun et al. 2018; MGN, Wang et al. 2018).

    Only the whole map's feature takes part in the metric loss, as in both.
    """

    kind: Literal["stripes"] = "stripes"
    parts: int = Field(6, ge=2, le=16, description="number of stripes")
    whole: bool = Field(False, description="whether the whole map gives a feature as well, named as the stream")
    pooling: Pooling = "gap"

    def names(self, stream: str) -> list[str]:
        """Return the names of the stream's features: the whole map's, and one for each stripe from the top."""
        return [stream] * self.whole + [f"{stream}{i + 1}" for i in range(self.parts)]


Stream = Annotated[GlobalStream | InstanceStream | PartStream | StripesStream, Field(discriminator="kind")]
StreamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


class NetworkConfig(Config):
    """A backbone and its named streams; the paper's ablations differ only in the streams."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "mobilenet_v2"] = "resnet50"
    weights: str = Field("imagenet", description="`none`, `imagenet` (torchvision downloads them) or a file")
    channels: int = Field(1536, ge=1, le=2**13, description="c, the width of each feature")
    neck: Literal["none", "batchnorm"] = Field("none", description="BN between the metric and the class feature")
    streams: dict[StreamName, Stream] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _one_learned_region(self) -> "NetworkConfig":
        learned = [name for name, s in self.streams.items() if isinstance(s, PartStream) and s.region == "learned"]
        if len(learned) > 1:
            raise ValueError(f"only one stream can learn its region, found {', '.join(learned)}")
        return self

    @model_validator(mode="after")
    def _distinct_features(self) -> "NetworkConfig":
        names = Counter(
            feature
            for name, s in self.streams.items()
            for feature in (s.names(name) if isinstance(s, InstanceStream | StripesStream) else [name])
        )
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two streams have a feature called {', '.join(twice)}; rename one of them")
        return self

    @property
    def learned_stream(self) -> str | None:
        """Name of the stream whose region the localiser (HSL) learns, or None."""
        for name, stream in self.streams.items():
            if isinstance(stream, PartStream) and stream.region == "learned":
                return name
        return None
