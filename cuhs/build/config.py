"""Configuration of a dataset: the raw folders and the protocol it is built from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cuhs.config import Config
from cuhs.raw.config import Source

DatasetProtocol = Literal["benchmark", "fg_reid", "fg_reid_v2"]
Problem = Literal["near_duplicates", "shared_identities", "no_match"]
Share = Annotated[float, Field(ge=0, le=1)]


class GalleryShare(Config):
    """Gallery-only people in other clothes, as a multiple of a group's query identities.

    The defaults follow the paper's Table 1. In the black group, 418 query identities have a gallery of 837; in the
    white group, 628 have a gallery of 706.
    """

    black: Annotated[float, Field(ge=0)] = 1.0
    white: Annotated[float, Field(ge=0)] = 0.12


class DatasetConfig(Config):
    """Configuration of a dataset.

    Attributes:
        name: name of the dataset.
        raw: folder that all other paths are relative to.
        protocol: see :mod:`cuhs.build.fine_grained`.
        seed: seed of all random choices.
        test_share: share of identities for testing, in sources that publish no split; 1 for a dataset that need not
            have training images.
        other_share: people in other clothes for each person of a group (``fg_reid``).
        gallery_share: see :class:`GalleryShare` (``fg_reid``).
        identities: CSV file that assigns identities to training and testing. It replaces the sources' splits and
            ``test_share``; with a column ``group`` also the protocol. See :mod:`cuhs.raw.identity_list`.
        allow: problems that do not stop a build, see :mod:`cuhs.build.leaks`.
        sources: raw datasets by name; the name prefixes their identities and cameras.
    """

    name: str
    raw: Path
    protocol: DatasetProtocol = "benchmark"
    seed: int = 0
    test_share: Share = 0.5
    other_share: Share = 0.3
    gallery_share: GalleryShare = GalleryShare()
    identities: Path | None = None
    allow: tuple[Problem, ...] = ()
    sources: dict[str, Source] = Field(min_length=1)

    def located(self) -> dict[str, Source]:
        """Return the sources sorted by name, with absolute paths: workers may have other working directories."""
        return {name: source.below(self.raw) for name, source in sorted(self.sources.items())}
