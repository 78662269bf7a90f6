"""What dataset is built from which raw folders."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cuhs.config import Config
from cuhs.raw.config import Source

DatasetProtocol = Literal["benchmark", "fg_reid", "fg_reid_v2"]
Problem = Literal["near_duplicates", "shared_identities", "no_match"]
Share = Annotated[float, Field(ge=0, le=1)]


class GalleryShare(Config):
    """People in other clothes who are in a group's gallery only, for each query identity of the group.

    The defaults are those of the paper's Table 1: a gallery of 837 identities for 418 query identities in the black
    group, of 706 for 628 in the white one.
    """

    black: Annotated[float, Field(ge=0)] = 1.0
    white: Annotated[float, Field(ge=0)] = 0.12


class DatasetConfig(Config):
    """What dataset is built from which raw folders.

    Attributes:
        name: of the dataset.
        raw: the folder that all other paths are relative to.
        protocol: see :mod:`cuhs.build.fine_grained`.
        seed: of every choice that the protocol makes.
        test_share: share of identities for testing, for sources that publish no split.
        other_share: people in other clothes for each person of a group (``fg_reid``).
        gallery_share: see :class:`GalleryShare` (``fg_reid``).
        identities: a CSV file of who trains and who tests, in place of the sources' splits and ``test_share``; with a
            column ``group`` it is in place of the protocol, too. See :mod:`cuhs.raw.identity_list`.
        allow: problems that do not stop a build, see :mod:`cuhs.build.leaks`.
        sources: raw datasets by the name that namespaces their identities and cameras.
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
        """The sources by name, sorted, their paths absolute: workers may have another working directory."""
        return {name: source.below(self.raw) for name, source in sorted(self.sources.items())}
