from collections import defaultdict

import pytest

from cuhs.build.splits import Row, as_listed, as_published, draw, with_training_sets
from cuhs.raw.identity_list import IdentityList
from cuhs.raw.records import RawImage, Sample, Split


def sample(pid: int, camid: int = 1, split: Split | None = None, number: int = 0, source: str = "s") -> Sample:
    return Sample(source, RawImage(f"{split}/{pid:04d}_{camid}_{number}.jpg", pid, camid, split), "other")


def open_source(people: int, source: str = "s") -> list[Sample]:
    """Identities with two images in each of two cameras; no published split."""
    return [
        sample(pid, camid, None, number, source)
        for pid in range(1, people + 1)
        for camid in (1, 2)
        for number in (0, 1)
    ]


def published(train: range, test: range, source: str = "s") -> list[Sample]:
    """Training identities with two images, testing ones with a query in camera 1 and a gallery image in 2."""
    samples = [sample(pid, camid, "train", 0, source) for pid in train for camid in (1, 2)]
    for pid in test:
        samples += [sample(pid, 1, "query", 0, source), sample(pid, 2, "gallery", 0, source)]
    return samples


def people(rows: list[Row], split: str) -> set[str]:
    return {row.sample.pid for row in rows if row.split == split}


def by_sample(rows: list[Row]) -> dict[Sample, str]:
    return {row.sample: row.split for row in rows}


def test_published_splits_stay_as_they_are() -> None:
    samples = published(range(1, 3), range(3, 5))
    rows = as_published(samples, seed=0, test_share=0.5)
    assert by_sample(rows) == {item: item.raw.split for item in samples}
    assert [row.key for row in rows] == sorted(row.key for row in rows)


def test_open_sources_are_divided_by_identity_with_one_query_for_each_camera() -> None:
    rows = as_published(open_source(400), seed=0, test_share=0.25)
    test = people(rows, "query")
    assert test == people(rows, "gallery") and not test & people(rows, "train")
    assert 75 <= len(test) <= 125
    by_camera: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row.split != "train":
            by_camera[row.sample.pid, row.sample.camid].append(row.split)
    assert all(sorted(splits) == ["gallery", "query"] for splits in by_camera.values())


def test_identity_with_one_image_in_each_camera_keeps_a_gallery_image() -> None:
    rows = as_published([sample(1, camid) for camid in (1, 2, 3)], seed=0, test_share=1)
    assert sorted(row.split for row in rows) == ["gallery", "gallery", "query"]


def test_the_choices_are_those_of_the_names_and_the_seed() -> None:
    # Recorded: another draw would put people of existing datasets into the other split.
    assert draw(0, "test", "s/0001") == pytest.approx(0.304044984579)
    rows = by_sample(as_published(open_source(300), 0, 0.5))
    more = by_sample(as_published([*open_source(300), sample(1, 2, None, 9), *open_source(320)[1200:]], 0, 0.5))
    assert {item: split for item, split in more.items() if item in rows and item.raw.pid != 1} == {
        item: split for item, split in rows.items() if item.raw.pid != 1
    }
    assert rows != by_sample(as_published(open_source(300), 1, 0.5))


def test_two_sources_with_the_same_numbers_are_divided_independently() -> None:
    rows = as_published(open_source(100, "a") + open_source(100, "b"), seed=0, test_share=0.5)
    train = people(rows, "train")
    assert {pid[2:] for pid in train if pid[0] == "a"} != {pid[2:] for pid in train if pid[0] == "b"}


def test_testing_only_sources_lend_whole_identities_to_training() -> None:
    partial = published(range(0), range(1, 201), "partial")
    rows = with_training_sets(partial, seed=0, test_share=0.5)
    train = people(rows, "train")
    assert 80 <= len(train) <= 120
    assert len([row for row in rows if row.split == "train"]) == 2 * len(train)
    assert not train & people(rows, "gallery")
    # Beside a source with a training set, too; that one stays as it is published.
    other = published(range(1, 51), range(51, 101), "s")
    both = by_sample(with_training_sets(partial + other, seed=0, test_share=0.5))
    assert {item: split for item, split in both.items() if item.source == "partial"} == by_sample(rows)
    assert all(both[item] == item.raw.split for item in other)


@pytest.mark.parametrize("split", [None, "train", "gallery"])
def test_junk_and_distractors_are_always_in_the_gallery(split: Split | None) -> None:
    extra = [sample(pid, 3, split) for pid in (0, -1)]
    for place in (as_published, with_training_sets):
        rows = by_sample(place(extra + open_source(4), 0, 0.0))
        assert [rows[item] for item in extra] == ["gallery", "gallery"]
    listed = by_sample(as_listed(extra + open_source(4), IdentityList({"s/0001": "test"}), 0))
    assert [listed[item] for item in extra] == ["gallery", "gallery"]


def test_a_list_overrides_published_and_drawn_splits_and_leaves_others_out() -> None:
    samples = published(range(1, 3), range(3, 6)) + open_source(2, "t")
    listed = IdentityList(
        {
            "s/0001": "test",
            "s/0002": "train",
            "s/0003": "train",
            "s/0004": "test",
            "t/0001": "test",
            "t/0002": "train",
        }
    )
    rows = as_listed(samples, listed, seed=0)
    assert people(rows, "train") == {"s/0002", "s/0003", "t/0002"}
    assert people(rows, "query") == people(rows, "gallery") == {"s/0001", "s/0004", "t/0001"}
    assert "s/0005" not in {row.sample.pid for row in rows}
    # Published roles stay where there are any; else each camera with several images asks with one.
    assert sorted((row.sample.camid, row.split) for row in rows if row.sample.pid == "s/0004") == [
        ("s/1", "query"),
        ("s/2", "gallery"),
    ]
    assert sorted((row.sample.camid, row.split) for row in rows if row.sample.pid == "t/0001") == [
        ("t/1", "gallery"),
        ("t/1", "query"),
        ("t/2", "gallery"),
        ("t/2", "query"),
    ]


def test_a_training_image_of_a_listed_tester_with_published_roles_fills_the_gallery() -> None:
    samples = [sample(1, 1, "query"), sample(1, 2, "gallery"), sample(1, 3, "train")]
    rows = by_sample(as_listed(samples, IdentityList({"s/0001": "test"}), 0))
    assert [rows[item] for item in samples] == ["query", "gallery", "gallery"]
