from collections.abc import Callable
from pathlib import Path

import pytest

from cuhs.build import packing
from cuhs.errors import CuhsError
from cuhs.raw.config import Source

Market = Callable[[Path], Source]
Picture = Callable[..., Path]
Built = Callable[..., dict]

COLOURS = ("black", "white", "other")


def shop(folder: Path, picture: Picture, people: int, first_seed: int) -> Source:
    """A source without a published split: each person twice in each of two cameras, in turn in three colours."""
    for pid in range(1, people + 1):
        for number in range(4):
            name = f"images_labeled/1_{pid:03d}_{1 + number // 2}_{number:02d}.png"
            picture(folder / name, first_seed + 4 * pid + number)
    (folder / "clothing.csv").write_text(
        "pid,colour\n" + "".join(f"{p},{COLOURS[p % 3]}\n" for p in range(1, people + 1))
    )
    return Source(classify=False, layout="cuhk03", folder=folder, clothing=folder / "clothing.csv")


def contents(folder: Path, source: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob(f"{source}-*.parquet")}


def test_shards_are_cut_by_rows_and_by_bytes(
    tmp_path: Path, market: Market, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw")
    monkeypatch.setattr(packing, "SHARD_ROWS", 3)
    summary = built({"m": source})
    assert [(shard["file"], shard["rows"]) for shard in summary["shards"]] == [
        ("train/m-00000.parquet", 3),
        ("train/m-00001.parquet", 1),
        ("query/m-00000.parquet", 2),
        ("gallery/m-00000.parquet", 3),
        ("gallery/m-00001.parquet", 2),
    ]
    monkeypatch.setattr(packing, "SHARD_BYTES", 1)
    assert len(built({"m": source})["shards"]) == 11


@pytest.mark.parametrize("protocol", ["benchmark", "fg_reid", "fg_reid_v2"])
def test_a_change_in_one_source_leaves_the_other_sources_shards_as_they_are(
    tmp_path: Path, picture: Picture, built: Built, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(packing, "SHARD_ROWS", 8)
    sources = {name: shop(tmp_path / name, picture, 12, seed) for name, seed in (("a", 0), ("b", 1000), ("c", 2000))}
    built(sources, "before", protocol=protocol)
    # Another picture, another image and three more people in one source.
    sources["b"] = shop(tmp_path / "b", picture, 15, 1000)
    picture(tmp_path / "b/images_labeled/1_001_1_00.png", 5000)
    picture(tmp_path / "b/images_labeled/1_002_1_09.png", 5001)
    built(sources, "after", protocol=protocol)
    for name in ("a", "c"):
        kept = contents(tmp_path / "before", name)
        assert len(kept) > 2 and contents(tmp_path / "after", name) == kept, name
    assert contents(tmp_path / "after", "b") != contents(tmp_path / "before", "b")


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), lambda path: path.unlink()])
def test_a_file_that_changes_under_the_build_stops_it(
    tmp_path: Path, market: Market, built: Built, change: Callable[[Path], None]
) -> None:
    source = market(tmp_path / "raw")

    def at_the_end(step: str, done: int, total: int) -> None:
        if done == total and step == "check m":
            change(source.folder / "query/0003_c1s1_000001_00.jpg")

    with pytest.raises(CuhsError, match=r"0003_c1s1_000001_00\.jpg: changed while the dataset was built"):
        built({"m": source}, progress=at_the_end)
    assert not (tmp_path / "out").exists()
