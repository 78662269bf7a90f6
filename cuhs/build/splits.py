"""Roles: assignment of images to training, queries and gallery.

Every choice is made by a hash of the seed and of the identity's or image's own name. A new identity therefore leaves
all others in place, and a new image can only change the query images of its own identity. Junk and distractors are
always in the gallery.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from cuhs.build.decode import Key
from cuhs.raw.identity_list import IdentityList
from cuhs.raw.records import Sample, Split


@dataclass(frozen=True, slots=True)
class Row:
    """A sample with its role.

    Attributes:
        sample: the image.
        split: ``train``, ``query`` or ``gallery``.
        groups: evaluation groups, ``all`` first; empty until a protocol assigns them.
    """

    sample: Sample
    split: Split
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Source and path."""
        return self.sample.source, self.sample.raw.path

    @property
    def name(self) -> str:
        """Source and path as one string, for people to read."""
        return "/".join(self.key)


def as_published(samples: list[Sample], seed: int, test_share: float) -> list[Row]:
    """Keep published roles; split the identities of sources that publish none.

    In such a source ``test_share`` of the identities are for testing. Each has one query image from every camera
    that has several images of it.
    """
    return _with_roles(((sample, _published(sample, seed, test_share)) for sample in samples), seed)


def with_training_sets(samples: list[Sample], seed: int, test_share: float) -> list[Row]:
    """Assign roles as :func:`as_published`, but also split the identities of sources without a training set.

    The identities chosen for training use all their images for it; the others keep their published roles.
    """
    trained = {sample.source for sample in samples if sample.raw.split == "train"}

    def role(sample: Sample) -> Split | None:
        if sample.source not in trained and not _tests(sample, seed, test_share):
            return "train"
        return _published(sample, seed, test_share)

    return _with_roles(((sample, role(sample)) for sample in samples), seed)


def as_listed(samples: list[Sample], listed: IdentityList, seed: int) -> list[Row]:
    """Assign roles by a user's list; people who are not on it are left out.

    An image of a test identity keeps its published role, if it has one for testing. If the identity has none, one
    image from each camera that has several of them is a query.
    """
    testing = {sample.pid for sample in samples if sample.raw.split in ("query", "gallery")}

    def role(sample: Sample) -> Split | None:
        if listed.sides.get(sample.pid) == "train":
            return "train"
        if sample.raw.split in ("query", "gallery"):
            return sample.raw.split
        return "gallery" if sample.pid in testing else None

    held = (sample for sample in samples if sample.pid in listed.sides or not sample.is_person)
    return _with_roles(((sample, role(sample)) for sample in held), seed)


def draw(seed: int, *name: str) -> float:
    """Return a number in [0, 1) that depends only on the seed and the name."""
    digest = hashlib.sha256("/".join((str(seed), *name)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _published(sample: Sample, seed: int, test_share: float) -> Split | None:
    if sample.raw.split:
        return sample.raw.split
    return None if _tests(sample, seed, test_share) else "train"


def _tests(sample: Sample, seed: int, test_share: float) -> bool:
    return draw(seed, "test", sample.pid) < test_share


def _with_roles(roles: Iterable[tuple[Sample, Split | None]], seed: int) -> list[Row]:
    """Return rows sorted by source and path; assign query and gallery to test identities without published roles."""
    rows = []
    undecided: dict[str, list[Sample]] = defaultdict(list)
    for sample, role in roles:
        if not sample.is_person:
            rows.append(Row(sample, "gallery"))
        elif role:
            rows.append(Row(sample, role))
        else:
            undecided[sample.pid].append(sample)
    for images in undecided.values():
        queries = _one_per_camera(images, seed)
        rows.extend(Row(sample, "query" if sample in queries else "gallery") for sample in images)
    return sorted(rows, key=lambda row: row.key)


def _one_per_camera(images: list[Sample], seed: int) -> set[Sample]:
    """Choose one image from each camera that has several, so that each camera keeps a gallery image."""
    by_camera: dict[str, list[Sample]] = defaultdict(list)
    for sample in images:
        by_camera[sample.camid].append(sample)
    several = [held for held in by_camera.values() if len(held) > 1] or [images]
    return {min(held, key=lambda sample: draw(seed, "query", sample.source, sample.raw.path)) for held in several}
