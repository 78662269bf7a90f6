from pathlib import Path

from cuhs.raw.config import Source
from cuhs.raw.parts import count_parts, in_words
from cuhs.raw.sources import list_source
from cuhs.raw.unread import Unread, unread_files
from cuhs.raw.unread import in_words as unread_in_words


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def unread(sources: dict[str, Source], *others: Path) -> list[Unread]:
    return unread_files(sources, {name: list_source(name, files) for name, files in sources.items()}, others)


MARKET = ("bounding_box_train/0002_c1s1_1_1.jpg", "query/0001_c2s1_1_1.jpg", "bounding_box_test/0001_c1s1_1_1.jpg")


def test_every_file_that_nobody_reads_is_counted_by_kind(tmp_path: Path) -> None:
    touch(
        tmp_path, *MARKET, "query/stray.jpg", "query/1.HEIC", "query/2.heic", "gt_bbox/0001_c1s1_1_1.jpg", "Makefile"
    )
    touch(tmp_path, "labels.csv", "people.csv", "query/._0001.jpg", ".git/a", ".git/b", "readme.txt")
    (tmp_path / "labels.csv").write_text("pid,colour\n1,black\n")
    (tmp_path / "again").symlink_to(tmp_path)  # leads back
    files = Source(layout="market1501", folder=tmp_path, clothing=tmp_path / "labels.csv")
    found = unread({"m": files}, tmp_path / "people.csv")
    assert found == [
        Unread("m", ".heic", 2, "query/1.HEIC"),
        Unread("m", "hidden", 2, ".git"),
        Unread("m", ".jpg", 1, "gt_bbox/0001_c1s1_1_1.jpg"),
        Unread("m", ".txt", 1, "readme.txt"),
        Unread("m", "no suffix", 1, "Makefile"),
    ]
    assert unread_in_words(found) == (
        "7 files are read by nobody (2 .heic, 2 hidden, 1 .jpg, 1 .txt, 1 no suffix), the first m/query/1.HEIC"
    )
    assert unread_in_words([]) == ""


def test_what_another_source_reads_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "a/1_1.jpg", "a/1_2.jpg", "b/1_1.png", "b/1_2.png", "c/notes.txt")
    sources = {
        name: Source(layout="pattern", folder=tmp_path, pattern=rf"{name}/(?P<pid>\d)_(?P<camid>\d)") for name in "ab"
    }
    assert unread(sources) == [Unread("a", ".txt", 1, "c/notes.txt")]


def test_the_lists_of_msmt17_are_read(tmp_path: Path) -> None:
    for part in ("train", "val", "query", "gallery"):
        (tmp_path / f"list_{part}.txt").write_text("0001/0001_000_01_0303morning_0008_0.jpg 1\n")
    touch(tmp_path, "train/notes.md", "test/0001/0001_000_01_0303morning_0008_0.jpg")
    assert unread({"m": Source(layout="msmt17", folder=tmp_path)}) == [Unread("m", ".md", 1, "train/notes.md")]


def test_parts_are_folders_with_their_roles_or_roles_alone(tmp_path: Path) -> None:
    touch(tmp_path, *MARKET, "bounding_box_test/-1_c1s1_1_1.jpg")
    market = Source(layout="market1501", folder=tmp_path)
    assert in_words(count_parts(market, list_source("m", market).images)) == (
        "bounding_box_test/ (gallery) 2 images of 1 identities, "
        "bounding_box_train/ (train) 1 images of 1 identities, query/ (query) 1 images of 1 identities"
    )
    own = Source(layout="pattern", folder=tmp_path, pattern=r".*/(?P<pid>[-\d]+)_c(?P<camid>\d).*")
    assert count_parts(own, list_source("m", own).images) == {"role drawn": {"ids": 3, "images": 4}}
