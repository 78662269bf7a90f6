from collections.abc import Callable

import pytest

from cuhs.build import fine_grained, splits
from cuhs.build.config import GalleryShare
from cuhs.build.fine_grained import benchmark, fg_reid, fg_reid_v2, listed_groups
from cuhs.build.splits import Row
from cuhs.errors import CuhsError
from cuhs.raw.identity_list import IdentityList
from cuhs.raw.records import RawImage, Sample, Split

COLOURS = ("black", "white", "other")


def sample(
    pid: int,
    camid: int = 1,
    split: Split | None = None,
    colour: str = "other",
    number: int = 0,
    source: str = "s",
) -> Sample:
    return Sample(source, RawImage(f"{split}/{pid:04d}_{camid}_{number}.jpg", pid, camid, split), colour)


def open_source(people: int, source: str = "s") -> list[Sample]:
    """Identities in turn black, white, other, with two images in each of two cameras; no published split."""
    return [
        sample(pid, camid, None, COLOURS[pid % 3], number, source)
        for pid in range(1, people + 1)
        for camid in (1, 2)
        for number in (0, 1)
    ]


def published(train: dict[int, str], test: dict[int, str], source: str = "s") -> list[Row]:
    """Training identities with two images, testing ones with a query in camera 1 and a gallery image in 2."""
    samples = [sample(pid, camid, "train", colour, 0, source) for pid, colour in train.items() for camid in (1, 2)]
    for pid, colour in test.items():
        samples += [sample(pid, 1, "query", colour, 0, source), sample(pid, 2, "gallery", colour, 0, source)]
    return splits.as_published(samples, 0, 0.5)


def people(rows: list[Row], split: str, group: str = "all") -> set[str]:
    return {row.sample.pid for row in rows if row.split == split and group in row.groups and row.sample.is_person}


def placed(rows: list[Row]) -> dict[Sample, tuple[str, tuple[str, ...]]]:
    return {row.sample: (row.split, row.groups) for row in rows}


PROTOCOLS: dict[str, Callable[[list[Sample], int], list[Row]]] = {
    "benchmark": lambda samples, seed: benchmark(splits.as_published(samples, seed, 0.5)),
    "fg_reid": lambda samples, seed: fg_reid(splits.with_training_sets(samples, seed, 0.5), seed, 0.3),
    "fg_reid_v2": lambda samples, seed: fg_reid_v2(splits.with_training_sets(samples, seed, 0.5)),
}


def test_benchmark_queries_meet_the_whole_gallery_in_their_colours_group() -> None:
    rows = benchmark(published({1: "black"}, {3: "white", 4: "other"}))
    assert {row.sample.raw.pid: row.groups for row in rows if row.split == "query"} == {
        3: ("all", "white"),
        4: ("all", "other"),
    }
    # No query wears black, so there is no black group.
    assert {row.groups for row in rows if row.split != "query"} == {("all", "white", "other")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_is_in_training_and_testing(protocol: str) -> None:
    rows = PROTOCOLS[protocol](open_source(300), 1)
    assert people(rows, "train") and people(rows, "query") <= people(rows, "gallery")
    assert not people(rows, "train") & people(rows, "gallery")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_more_identity_or_image_leaves_the_other_identities_in_their_place(protocol: str) -> None:
    before = placed(PROTOCOLS[protocol](open_source(300), 3))
    more = [*open_source(300), sample(1, 2, None, COLOURS[1], number=9)]
    more += [sample(301, camid, None, COLOURS[301 % 3], number) for camid in (1, 2) for number in (0, 1)]
    after = placed(PROTOCOLS[protocol](more, 3))
    untouched = {item: place for item, place in after.items() if item.raw.pid not in (1, 301)}
    changed = {item.pid for item in before.keys() | untouched.keys() if before.get(item) != untouched.get(item)}
    changed.discard("s/0001")
    # The shares follow the size of the group: at most one joins, one stands by in its place, and one more does.
    assert len(changed) <= (3 if protocol == "fg_reid" else 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_source_changes_nothing_in_this_one(protocol: str) -> None:
    alone = placed(PROTOCOLS[protocol](open_source(90), 3))
    with_other = placed(PROTOCOLS[protocol](open_source(90) + open_source(40, "t"), 3))
    assert {item: place for item, place in with_other.items() if item.source == "s"} == alone


def test_order_of_the_samples_does_not_matter_and_the_seed_does() -> None:
    samples = open_source(60)
    assert PROTOCOLS["fg_reid"](samples, 1) == PROTOCOLS["fg_reid"](samples[::-1], 1)
    assert placed(PROTOCOLS["fg_reid"](samples, 1)) != placed(PROTOCOLS["fg_reid"](samples, 2))


def colours_of(rows: list[Row], split: str, group: str) -> list[str]:
    colour = {row.sample.pid: row.sample.colour for row in rows}
    return [colour[pid] for pid in people(rows, split, group)]


def test_fg_reid_groups_hold_all_of_their_colour_and_the_asked_share_of_others() -> None:
    rows = published(
        {pid: COLOURS[pid % 3] for pid in range(1, 301)}, {pid: COLOURS[pid % 3] for pid in range(301, 601)}
    )
    shared = fg_reid(rows, 0, other_share=0.3, gallery_share=GalleryShare(black=0.5, white=0.1))
    for group, standing_by in (("black", 65), ("white", 13)):
        for split in ("train", "query"):
            wearing = colours_of(shared, split, group)
            assert (wearing.count(group), wearing.count("other"), len(wearing)) == (100, 30, 130)
        gallery = colours_of(shared, "gallery", group)
        assert (gallery.count(group), gallery.count("other"), len(gallery)) == (
            100,
            30 + standing_by,
            130 + standing_by,
        )
        assert people(shared, "query", group) < people(shared, "gallery", group)


def test_fg_reid_galleries_have_the_proportions_of_table_1() -> None:
    # 5 people in other clothes for each in black and each in white.
    test = {pid: ("black", "white", *["other"] * 10)[pid % 12] for pid in range(1, 1201)}
    rows = fg_reid(published({2000: "black"}, test), 0, 0.3)
    for group, ids, of in (("black", 837, 418), ("white", 706, 628)):
        proportion = len(people(rows, "gallery", group)) / len(people(rows, "query", group))
        assert proportion == pytest.approx(ids / of, rel=0.01)


def test_fg_reid_takes_all_others_of_a_source_that_has_too_few() -> None:
    test = dict.fromkeys(range(1, 11), "black") | {11: "other", 12: "other", 13: "white"}
    rows = fg_reid(published({100: "black"}, test), 0, 0.1, GalleryShare(black=1.0, white=0.0))
    assert sorted(colours_of(rows, "query", "black")) == ["black"] * 10 + ["other"]
    assert sorted(colours_of(rows, "gallery", "black")) == ["black"] * 10 + ["other"] * 2


def test_fg_reid_share_zero_asks_only_for_the_groups_colour() -> None:
    test = {pid: COLOURS[pid % 3] for pid in range(1, 31)}
    rows = fg_reid(published({100: "black"}, test), 0, 0, GalleryShare(black=0, white=0))
    assert people(rows, "query", "black") == {f"s/{pid:04d}" for pid in test if pid % 3 == 0}
    assert len(people(rows, "query")) == 20 and people(rows, "query") == people(rows, "gallery")


def test_fg_reid_leaves_out_training_people_of_neither_group() -> None:
    rows = published(dict.fromkeys(range(10, 50), "other") | {1: "black"}, {2: "black"})
    shared = fg_reid(rows, 0, 0)
    assert people(shared, "train") == {"s/0001"}
    assert len(rows) - len(shared) == 80


def test_a_colour_nobody_asks_for_is_no_testing_group() -> None:
    rows = fg_reid(published({1: "black", 2: "white"}, {3: "black", 4: "other"}), 0, 1.0)
    assert {group for row in rows if row.split != "train" for group in row.groups} == {"all", "black"}
    assert people(rows, "train", "white") == {"s/0002"}


@pytest.mark.parametrize("protocol", [lambda rows: fg_reid(rows, 0, 0.3), fg_reid_v2])
def test_junk_and_distractors_fill_the_galleries_of_every_group(protocol: Callable) -> None:
    extra = splits.as_published([sample(-1, 4, "gallery"), sample(0, 5, "gallery")], 0, 0.5)
    rows = protocol(published({1: "black"}, {2: "black", 3: "white"}) + extra)
    assert {row.sample.raw.pid: (row.split, row.groups) for row in rows if not row.sample.is_person} == {
        -1: ("gallery", ("all", "black", "white")),
        0: ("gallery", ("all", "black", "white")),
    }


def test_v2_asks_only_for_black_and_white_among_all_training_and_gallery_people() -> None:
    rows = fg_reid_v2(published({1: "other", 2: "black"}, {3: "black", 4: "white", 5: "other"}))
    assert people(rows, "train") == {"s/0001", "s/0002"}
    assert people(rows, "gallery") == {"s/0003", "s/0004", "s/0005"}
    assert {row.sample.pid: row.groups for row in rows if row.split == "query"} == {
        "s/0003": ("all", "black"),
        "s/0004": ("all", "white"),
    }


def test_a_list_decides_the_groups_and_extra_images_are_in_those_that_are_asked_for() -> None:
    rows = published({1: "black", 2: "white"}, {3: "black", 4: "other"})
    rows += splits.as_published([sample(0, 5, "gallery")], 0, 0.5)
    groups = {"s/0001": ("day", "night"), "s/0002": ("attic",), "s/0003": ("night",), "s/0004": ("day", "night")}
    listed = listed_groups(rows, IdentityList(groups=groups))
    assert {(row.sample.pid, row.split): row.groups for row in listed} == {
        ("s/0000", "gallery"): ("all", "day", "night"),
        ("s/0001", "train"): ("all", "day", "night"),
        ("s/0002", "train"): ("all", "attic"),
        ("s/0003", "query"): ("all", "night"),
        ("s/0003", "gallery"): ("all", "night"),
        ("s/0004", "query"): ("all", "day", "night"),
        ("s/0004", "gallery"): ("all", "day", "night"),
    }


def test_a_dataset_without_queries_is_an_error() -> None:
    with pytest.raises(CuhsError, match=r"no query image.*data\.test_share"):
        benchmark(splits.as_published(open_source(5), 0, 0.0))
    with pytest.raises(CuhsError, match=r"no query image.*clothing"):
        fg_reid(published({1: "other"}, {2: "other"}), 0, 0.3)


def test_the_default_shares_are_for_the_two_groups() -> None:
    assert GalleryShare.model_fields.keys() == set(fine_grained.FINE)
