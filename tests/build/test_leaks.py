import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cuhs.build.decode import Finding
from cuhs.build.leaks import find_leaks, queries_without_match
from cuhs.build.near_duplicates import VIEWS
from cuhs.build.report.page import warnings
from cuhs.build.splits import Row
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.records import RawImage, Sample, Split

Market = Callable[[Path], Source]
Picture = Callable[..., Path]
Built = Callable[..., dict]


def row(pid: int, camid: int, split: Split, number: int = 0) -> Row:
    path = f"{split}/{pid:04d}_{camid}_{number}.jpg"
    return Row(Sample("s", RawImage(path, pid, camid, split), "black"), split, ("all", "black"))


def findings(rows: list[Row], looks: dict[int, int]) -> dict[tuple[str, str], Finding]:
    """Of each row by its place: hashes with the given number of bits set; without one, an empty image."""
    found = {}
    for place, item in enumerate(rows):
        look = f"{(1 << looks[place]) - 1:064x}" * len(VIEWS) if place in looks else None
        found[item.key] = Finding(f"digest{place}", None, 64, 128, 1000, True, look)
    return found


def test_each_testing_image_is_paired_with_its_nearest_training_image() -> None:
    rows = [row(1, 1, "train"), row(2, 1, "train"), row(3, 1, "query"), row(3, 2, "gallery"), row(4, 1, "gallery")]
    found = find_leaks(rows, findings(rows, {0: 0, 1: 200, 2: 160, 3: 41, 4: 30}))
    assert [(pair.train.sample.raw.pid, pair.test.name, pair.bits) for pair in found.copies] == [
        (1, "s/gallery/0004_1_0.jpg", 30),
        (2, "s/query/0003_1_0.jpg", 40),
    ]
    assert [(pair.train.sample.raw.pid, pair.test.name, pair.bits) for pair in found.closest] == [
        (1, "s/gallery/0003_2_0.jpg", 41)
    ]


def test_the_same_file_is_a_copy_though_it_is_empty_and_other_empty_images_are_not() -> None:
    rows = [row(1, 1, "train"), row(2, 1, "train", 1), row(3, 1, "query"), row(4, 1, "gallery")]
    found = findings(rows, {})
    found[rows[3].key] = found[rows[1].key]
    assert [(pair.train.name, pair.test.name, pair.bits) for pair in find_leaks(rows, found).copies] == [
        ("s/train/0002_1_1.jpg", "s/gallery/0004_1_0.jpg", 0)
    ]


def test_images_of_one_split_and_of_nobody_may_be_alike() -> None:
    rows = [row(1, 1, "train"), row(1, 1, "train", 1), row(3, 1, "query"), row(3, 2, "gallery"), row(0, 3, "gallery")]
    found = find_leaks(rows, findings(rows, {0: 0, 1: 0, 2: 200, 3: 200, 4: 0}))
    assert found.copies == []


def test_two_people_are_shown_once_among_the_closest() -> None:
    rows = [row(1, 1, "train", n) for n in range(3)] + [row(2, 1, "query", n) for n in range(3)]
    rows += [row(1, 2, "gallery")]
    found = find_leaks(rows, findings(rows, {0: 0, 1: 0, 2: 0, 3: 90, 4: 80, 5: 70, 6: 60}))
    assert [pair.bits for pair in found.closest] == [70]


def test_shared_identities_and_identities_of_one_image_are_found() -> None:
    rows = [row(1, 1, "train"), row(1, 2, "train"), row(2, 1, "train"), row(1, 3, "query"), row(1, 4, "gallery")]
    found = find_leaks(rows, findings(rows, {}))
    assert {pid: (train.name, test.name) for pid, (train, test) in found.shared.items()} == {
        "s/0001": ("s/train/0001_1_0.jpg", "s/query/0001_3_0.jpg")
    }
    assert found.single == ["s/0002"]


def test_queries_without_another_camera_in_the_gallery_are_found() -> None:
    rows = [row(1, 1, "query"), row(1, 1, "gallery"), row(2, 1, "query"), row(2, 2, "gallery"), row(3, 1, "query")]
    assert [item.sample.pid for item in queries_without_match(rows)] == ["s/0001", "s/0003"]


def test_problems_that_are_not_allowed_are_one_line_with_the_key_that_allows_them() -> None:
    rows = [row(1, 1, "train"), row(1, 2, "train"), row(1, 3, "query"), row(1, 3, "gallery")]
    found = find_leaks(rows, findings(rows, {0: 0, 1: 200, 2: 3, 3: 100}))
    assert found.refused(["shared_identities", "near_duplicates", "no_match"]) == ""
    line = found.refused([])
    assert line.endswith("data.allow: [shared_identities, near_duplicates, no_match]") and "\n" not in line
    assert "s/query/0001_3_0.jpg of s/train/0001_1_0.jpg (3 of 256 bits differ)" in line
    assert found.refused(["shared_identities", "no_match"]).endswith("data.allow: [near_duplicates]")


def save_copy(source: Source) -> None:
    """A gallery image that is a training image, compressed again."""
    image = Image.open(source.folder / "bounding_box_train/0002_c2s1_000001_01.jpg")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    (source.folder / "bounding_box_test/0003_c3s1_000009_01.jpg").write_bytes(buffer.getvalue())


def test_a_copy_in_the_gallery_stops_the_build_and_is_shown(tmp_path: Path, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    save_copy(source)
    with pytest.raises(CuhsError) as refused:
        built({"m": source})
    page = tmp_path / "out.unfinished/dataset.html"
    assert re.fullmatch(
        r"1 testing images are copies of training images, such as "
        r"m/bounding_box_test/0003_c3s1_000009_01\.jpg of m/bounding_box_train/0002_c2s1_000001_01\.jpg "
        r"\(\d+ of 256 bits differ\): .* data\.allow: \[near_duplicates\] \(pictures: .*dataset\.html\)",
        str(refused.value),
    )
    text = page.read_text()
    assert "Not built" in text and "bounding_box_test/0003_c3s1_000009_01.jpg" in text
    assert not (tmp_path / "out").exists()

    summary = built({"m": source}, allow=["near_duplicates"])
    assert summary["near_duplicates"]["count"] == 1
    assert any("copies of training images (allowed)" in line for line in warnings(summary))
    assert "Not built" not in (tmp_path / "out/dataset.html").read_text()
    assert not page.exists()


def test_an_identity_in_both_splits_stops_the_build_and_is_shown(
    tmp_path: Path, picture: Picture, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")
    picture(source.folder / "bounding_box_test/0002_c3s1_000001_01.jpg", 99)
    with pytest.raises(
        CuhsError, match=r"1 identities are in both training and testing, such as m/0002 .*data\.ident"
    ):
        built({"m": source})
    assert "Identities in both training and testing" in (tmp_path / "out.unfinished/dataset.html").read_text()
    assert built({"m": source}, allow=["shared_identities"])["shared_identities"]["first"] == ["m/0002"]


def test_one_camera_only_stops_the_build(tmp_path: Path, picture: Picture, built: Built) -> None:
    for number in range(24):
        picture(tmp_path / f"raw/images_labeled/1_{1 + number // 3:03d}_1_{number:02d}.png", number)
    source = Source(classify=False, layout="cuhk03", folder=tmp_path / "raw")
    with pytest.raises(CuhsError, match=r"no query has a gallery image of its identity.*\[no_match\]"):
        built({"c": source})
    summary = built({"c": source}, allow=["no_match"])
    assert summary["queries_without_match"]["count"] == summary["splits"]["query"]["images"] > 0
