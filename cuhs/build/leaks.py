"""Checks of a dataset for problems that make results worthless, such as leaks between training and testing."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cuhs.build.config import Problem
from cuhs.build.decode import Finding, Key
from cuhs.build.near_duplicates import BITS, COPY, nearest
from cuhs.build.splits import Row

# Number of pairs shown that are the most similar ones of different people but no copies.
CLOSEST = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """A testing image and its most similar training image.

    Attributes:
        train, test: the two images.
        bits: number of bits in which their hashes differ; 0 if the files are identical.
    """

    train: Row
    test: Row
    bits: int


@dataclass(frozen=True)
class Leaks:
    """Result of the checks.

    Attributes:
        copies: pairs that differ in at most :data:`.near_duplicates.COPY` bits, the most similar first.
        closest: the most similar pairs that are no copies, at most one for any two people.
        shared: identities in both training and testing, sorted, each with an image from either side.
        without_match: queries that lack a true match from another camera in at least one of their groups.
        queries: number of queries.
        single: training identities with a single image, sorted.
    """

    copies: list[Pair]
    closest: list[Pair]
    shared: dict[str, tuple[Row, Row]]
    without_match: list[Row]
    queries: int
    single: list[str]

    def refused(self, allow: Collection[Problem]) -> str:
        """Return one line on the problems that are not allowed, each with its fix; empty if there is none."""
        problems: dict[Problem, str] = {}
        if self.shared:
            problems["shared_identities"] = self._shared()
        if self.copies:
            problems["near_duplicates"] = self._copies()
        if len(self.without_match) == self.queries:
            problems["no_match"] = self._no_match()
        refused = {problem: text for problem, text in problems.items() if problem not in allow}
        if not refused:
            return ""
        return f"{'; '.join(refused.values())}; to build anyway, set data.allow: [{', '.join(refused)}]"

    def _shared(self) -> str:
        pid, (train, test) = next(iter(self.shared.items()))
        return (
            f"{len(self.shared)} identities are in both training and testing, such as {pid} ({train.name} and "
            f"{test.name}): correct the source's split or give data.identities; if training and testing "
            "identities are numbered apart, set pids_per_split: true for the source"
        )

    def _copies(self) -> str:
        first = self.copies[0]
        return (
            f"{len(self.copies)} testing images are copies of training images, such as {first.test.name} of "
            f"{first.train.name} ({first.bits} of {BITS} bits differ): remove one of the two or correct its identity"
        )

    def _no_match(self) -> str:
        return (
            "no query has a gallery image of its identity from another camera, such as "
            f"{self.without_match[0].name}, so there is nothing to evaluate: check the camera ids, or add images "
            "from a second camera"
        )


def find_leaks(rows: list[Row], findings: Mapping[Key, Finding]) -> Leaks:
    """Check the whole dataset.

    Args:
        rows: the dataset.
        findings: finding of each row's image.
    """
    people = [row for row in rows if row.sample.is_person]
    training = [row for row in people if row.split == "train"]
    testing = [row for row in people if row.split != "train"]
    pairs = _pairs(training, testing, findings)
    return Leaks(
        copies=[pair for pair in pairs if pair.bits <= COPY],
        closest=_closest(pair for pair in pairs if pair.bits > COPY),
        shared=_shared(training, testing),
        without_match=queries_without_match(rows),
        queries=sum(row.split == "query" for row in rows),
        single=_single(training),
    )


def queries_without_match(rows: Iterable[Row]) -> list[Row]:
    """Find queries without a gallery row from another camera in at least one of their groups; ranking skips them."""
    cameras: dict[tuple[str, str], set[str]] = defaultdict(set)
    queries = []
    for row in rows:
        if row.split == "query":
            queries.append(row)
        elif row.split == "gallery" and row.sample.is_person:
            for group in row.groups:
                cameras[group, row.sample.pid].add(row.sample.camid)
    return [
        row
        for row in queries
        if any(not cameras.get((group, row.sample.pid), set()) - {row.sample.camid} for group in row.groups)
    ]


def _pairs(training: list[Row], testing: list[Row], findings: Mapping[Key, Finding]) -> list[Pair]:
    """Pair each testing image with its nearest training image, if any is similar; the most similar pairs first."""
    same = {findings[row.key].digest: row for row in reversed(training)}
    copied = [row for row in testing if findings[row.key].digest in same]
    pairs = [Pair(same[findings[row.key].digest], row, 0) for row in copied]
    looks = {row.key: look for row in training + testing if (look := findings[row.key].look)}
    left = [row for row in testing if row.key in looks and findings[row.key].digest not in same]
    among = [row for row in training if row.key in looks]
    if left and among:
        index, bits = nearest([looks[row.key] for row in left], [looks[row.key] for row in among])
        found = zip(left, index.tolist(), bits.tolist(), strict=True)
        pairs += [Pair(among[i], row, n) for row, i, n in found if i >= 0]
    return sorted(pairs, key=lambda pair: (pair.bits, pair.test.key))


def _closest(pairs: Iterable[Pair]) -> list[Pair]:
    first: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        if pair.train.sample.pid != pair.test.sample.pid:
            first.setdefault((pair.train.sample.pid, pair.test.sample.pid), pair)
    return list(first.values())[:CLOSEST]


def _shared(training: list[Row], testing: list[Row]) -> dict[str, tuple[Row, Row]]:
    first, second = ({row.sample.pid: row for row in reversed(side)} for side in (training, testing))
    return {pid: (first[pid], second[pid]) for pid in sorted(first.keys() & second.keys())}


def _single(training: list[Row]) -> list[str]:
    images: dict[str, int] = defaultdict(int)
    for row in training:
        images[row.sample.pid] += 1
    return sorted(pid for pid, count in images.items() if count == 1)
