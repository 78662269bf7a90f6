from collections import defaultdict

import pytest

from cuhs.data.fine_grained import Row, benchmark, fg_reid, fg_reid_v2, queries_without_match
from cuhs.data.records import RawImage, Sample, Split
from cuhs.errors import CuhsError

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


def published(train: dict[int, str], test: dict[int, str], source: str = "s") -> list[Sample]:
    """Training identities with two images, testing ones with a query in camera 1 and a gallery image in 2."""
    samples = [sample(pid, camid, "train", colour, 0, source) for pid, colour in train.items() for camid in (1, 2)]
    for pid, colour in test.items():
        samples += [sample(pid, 1, "query", colour, 0, source), sample(pid, 2, "gallery", colour, 0, source)]
    return samples


def people(rows: list[Row], split: str, group: str = "all") -> set[str]:
    return {row.sample.pid for row in rows if row.split == split and group in row.groups and row.sample.is_person}


def placed(rows: list[Row]) -> dict[Sample, tuple[str, tuple[str, ...]]]:
    return {row.sample: (row.split, row.groups) for row in rows}


def test_published_splits_stay_as_they_are_in_the_benchmark() -> None:
    samples = published({1: "black", 2: "other"}, {3: "white", 4: "other"})
    rows = benchmark(samples, seed=0, test_share=0.5)
    assert {row.sample: row.split for row in rows} == {item: item.raw.split for item in samples}


def test_benchmark_queries_meet_the_whole_gallery_in_their_colours_group() -> None:
    rows = benchmark(published({1: "black"}, {3: "white", 4: "other"}), seed=0, test_share=0.5)
    assert {row.sample.raw.pid: row.groups for row in rows if row.split == "query"} == {
        3: ("all", "white"),
        4: ("all", "other"),
    }
    # No query wears black, so there is no black group.
    assert {row.groups for row in rows if row.split != "query"} == {("all", "white", "other")}


def test_open_sources_are_divided_by_identity_with_one_query_for_each_camera() -> None:
    rows = benchmark(open_source(400), seed=0, test_share=0.25)
    test = people(rows, "query")
    assert test == people(rows, "gallery") and not test & people(rows, "train")
    assert 75 <= len(test) <= 125
    by_camera: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row.split != "train":
            by_camera[row.sample.pid, row.sample.camid].append(row.split)
    assert all(sorted(splits) == ["gallery", "query"] for splits in by_camera.values())


def test_identity_with_one_image_in_each_camera_keeps_a_gallery_image() -> None:
    rows = benchmark([sample(1, camid) for camid in (1, 2, 3)], seed=0, test_share=1)
    assert sorted(row.split for row in rows) == ["gallery", "gallery", "query"]
    assert queries_without_match(rows) == []


@pytest.mark.parametrize("protocol", ["benchmark", "fg_reid", "fg_reid_v2"])
def test_one_more_identity_or_image_leaves_the_other_identities_in_their_split(protocol: str) -> None:
    def build(samples: list[Sample]) -> list[Row]:
        if protocol == "fg_reid":
            return fg_reid(samples, 3, 0.5, 0.3)
        return {"benchmark": benchmark, "fg_reid_v2": fg_reid_v2}[protocol](samples, 3, 0.5)

    before = placed(build(open_source(300)))
    more = [*open_source(300), sample(1, 2, None, COLOURS[1], number=9)]
    more += [sample(301, camid, None, COLOURS[301 % 3], number) for camid in (1, 2) for number in (0, 1)]
    after = placed(build(more))
    untouched = {item: place for item, place in after.items() if item.raw.pid not in (1, 301)}
    changed = {item.pid for item in before.keys() | untouched.keys() if before.get(item) != untouched.get(item)}
    changed.discard("s/0001")
    # The share of people in other clothes follows the size of the group: at most one person is at its edge.
    assert len(changed) <= (1 if protocol == "fg_reid" else 0)


def test_order_of_the_samples_does_not_matter_and_the_seed_does() -> None:
    samples = open_source(60)
    assert fg_reid(samples, 1, 0.5, 0.3) == fg_reid(samples[::-1], 1, 0.5, 0.3)
    assert placed(fg_reid(samples, 1, 0.5, 0.3)) != placed(fg_reid(samples, 2, 0.5, 0.3))


def test_two_sources_with_the_same_numbers_are_divided_independently() -> None:
    rows = benchmark(open_source(100, "a") + open_source(100, "b"), seed=0, test_share=0.5)
    train = people(rows, "train")
    assert {pid[2:] for pid in train if pid[0] == "a"} != {pid[2:] for pid in train if pid[0] == "b"}


def test_fg_reid_groups_hold_their_colour_and_the_asked_share_of_others() -> None:
    samples = open_source(1500)
    colour = {item.pid: item.colour for item in samples}
    rows = fg_reid(samples, seed=0, test_share=0.5, other_share=0.3)
    for group in ("black", "white"):
        for split in ("train", "query"):
            inside = [colour[pid] for pid in people(rows, split, group)]
            assert set(inside) == {group, "other"}
            assert inside.count("other") / inside.count(group) == pytest.approx(0.3, abs=0.07)
            wearers = {pid for pid in people(rows, split) if colour[pid] == group}
            assert wearers <= people(rows, split, group)


def test_fg_reid_gallery_has_all_testing_people_in_other_clothes_and_none_of_the_other_group() -> None:
    test = {pid: COLOURS[pid % 3] for pid in range(1, 31)}
    rows = fg_reid(published({100: "black", 101: "white"}, test), seed=0, test_share=0.5, other_share=0.3)
    for group, rival in (("black", "white"), ("white", "black")):
        gallery = people(rows, "gallery", group)
        assert gallery == {f"s/{pid:04d}" for pid, colour in test.items() if colour != rival}
        assert people(rows, "query", group) < gallery


def test_fg_reid_share_zero_asks_only_for_the_groups_colour() -> None:
    test = {pid: COLOURS[pid % 3] for pid in range(1, 31)}
    rows = fg_reid(published({100: "black"}, test), seed=0, test_share=0.5, other_share=0)
    assert people(rows, "query", "black") == {f"s/{pid:04d}" for pid in test if pid % 3 == 0}
    assert len(people(rows, "query")) == 20


def test_fg_reid_leaves_out_training_people_of_neither_group() -> None:
    train = dict.fromkeys(range(10, 50), "other") | {1: "black"}
    samples = published(train, {2: "black"})
    rows = fg_reid(samples, seed=0, test_share=0.5, other_share=0)
    assert people(rows, "train") == {"s/0001"}
    assert len(samples) - len(rows) == 80


def test_a_colour_nobody_asks_for_is_no_testing_group() -> None:
    rows = fg_reid(published({1: "black", 2: "white"}, {3: "black", 4: "other"}), 0, 0.5, 1.0)
    assert {group for row in rows if row.split != "train" for group in row.groups} == {"all", "black"}
    assert people(rows, "train", "white") == {"s/0002"}


@pytest.mark.parametrize("protocol", ["fg_reid", "fg_reid_v2"])
def test_junk_and_distractors_fill_the_galleries_of_every_group(protocol: str) -> None:
    samples = published({1: "black"}, {2: "black", 3: "white"})
    samples += [sample(-1, 4, "gallery"), sample(0, 5, "gallery")]
    rows = fg_reid(samples, 0, 0.5, 0.3) if protocol == "fg_reid" else fg_reid_v2(samples, 0, 0.5)
    extra = {row.sample.raw.pid: (row.split, row.groups) for row in rows if not row.sample.is_person}
    assert extra == {
        -1: ("gallery", ("all", "black", "white")),
        0: ("gallery", ("all", "black", "white")),
    }
    assert {row.sample.pid for row in rows if row.sample.junk} == {"s/-1"}


def test_v2_asks_only_for_black_and_white_among_all_training_and_gallery_people() -> None:
    samples = published({1: "other", 2: "black"}, {3: "black", 4: "white", 5: "other"})
    rows = fg_reid_v2(samples, seed=0, test_share=0.5)
    assert people(rows, "train") == {"s/0001", "s/0002"}
    assert people(rows, "gallery") == {"s/0003", "s/0004", "s/0005"}
    assert {row.sample.pid: row.groups for row in rows if row.split == "query"} == {
        "s/0003": ("all", "black"),
        "s/0004": ("all", "white"),
    }


def test_testing_only_sources_lend_whole_identities_to_training_in_the_fine_grained_protocols() -> None:
    partial = published({}, {pid: COLOURS[pid % 3] for pid in range(1, 201)}, "partial")
    rows = fg_reid_v2(partial, seed=0, test_share=0.5)
    train = people(rows, "train")
    assert 80 <= len(train) <= 120
    assert len([row for row in rows if row.split == "train"]) == 2 * len(train)
    assert not train & people(rows, "gallery")
    # The benchmark keeps the published protocol: all of them test.
    assert people(benchmark(partial, seed=0, test_share=0.5), "train") == set()


@pytest.mark.parametrize("colour", ["black", "other"])
def test_identity_in_training_and_testing_is_an_error(colour: str) -> None:
    samples = published({1: colour, 2: "black"}, {1: colour, 3: "black"})
    with pytest.raises(CuhsError, match="1 identities are in both training and testing, such as s/0001"):
        benchmark(samples, seed=0, test_share=0.5)


def test_a_dataset_without_queries_is_an_error() -> None:
    with pytest.raises(CuhsError, match=r"no query image.*data\.test_share"):
        benchmark(open_source(5), seed=0, test_share=0)
    with pytest.raises(CuhsError, match=r"no query image.*clothing"):
        fg_reid(published({1: "other"}, {2: "other"}), 0, 0.5, 0.3)


def test_queries_without_another_camera_in_the_gallery_are_found() -> None:
    samples = [
        sample(1, 1, "query"),
        sample(1, 1, "gallery"),
        sample(2, 1, "query"),
        sample(2, 2, "gallery"),
        sample(3, 1, "query"),
    ]
    lonely = queries_without_match(benchmark(samples, seed=0, test_share=0.5))
    assert [row.sample.pid for row in lonely] == ["s/0001", "s/0003"]
