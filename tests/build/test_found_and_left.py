"""What a build says about the parts that it found, the files that nobody read, and parts that are missing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.build.report.page import warnings
from cuhs.errors import CuhsError
from cuhs.raw.config import Source

Market = Callable[[Path], Source]
Picture = Callable[..., Path]
Built = Callable[..., dict]


def test_parts_and_unread_files_are_on_the_page_and_in_the_output(
    tmp_path: Path, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")
    (tmp_path / "raw/query/0003_c1s1.heic").touch()
    (tmp_path / "raw/gt_bbox").mkdir()
    (tmp_path / "raw/gt_bbox/1.jpg").touch()
    (tmp_path / "raw/people.csv").write_text("pid,split\nm/1,train\nm/3,test\nm/4,test\n")
    summary = built({"m": source}, identities=tmp_path / "raw/people.csv")
    assert summary["parts"]["m"]["query/ (query)"] == {"ids": 2, "images": 2}
    assert [(kind["kind"], kind["first"]) for kind in summary["unread"]] == [
        (".heic", "query/0003_c1s1.heic"),
        (".jpg", "gt_bbox/1.jpg"),
    ]
    line = "2 files are read by nobody (1 .heic, 1 .jpg), the first m/query/0003_c1s1.heic"
    assert line in warnings(summary)
    page = (tmp_path / "out/dataset.html").read_text()
    assert line in page and "Files that nobody reads" in page and "bounding_box_train/ (train)" in page


def test_a_part_of_which_no_image_can_be_used_is_named_with_the_reason(
    tmp_path: Path, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")
    for path in (tmp_path / "raw/bounding_box_train").iterdir():
        path.write_bytes(b"<html>")
    with pytest.raises(CuhsError) as refused:
        built({"m": source})
    assert str(refused.value) == (
        f"{tmp_path / 'raw'}: not one image of bounding_box_train/ (train) can be used; the first is "
        "bounding_box_train/0001_c1s1_000001_01.jpg: not an image"
    )


def test_a_dataset_without_training_images_is_refused_unless_it_only_tests(
    tmp_path: Path, picture: Picture, built: Built
) -> None:
    for seed, name in enumerate(("query/1_1", "query/2_1", "gallery/1_2", "gallery/2_2")):
        picture(tmp_path / f"own/{name}.png", seed)
    pattern = r"(?P<split>\w+)/(?P<pid>\d)_(?P<camid>\d)"
    source = Source(layout="pattern", folder=tmp_path / "own", pattern=pattern, classify=False)
    with pytest.raises(CuhsError) as refused:
        built({"own": source})
    assert str(refused.value) == (
        "no image is for training (own: gallery 2 images of 2 identities, query 2 images of 2 identities); "
        "add training images, or set data.test_share: 1 for a dataset that only tests"
    )
    assert built({"own": source}, test_share=1)["splits"]["train"]["images"] == 0


def test_a_dataset_without_queries_is_refused_with_what_was_found(
    tmp_path: Path, picture: Picture, built: Built
) -> None:
    for seed, name in enumerate(("train/1_1", "train/1_2", "gallery/2_1")):
        picture(tmp_path / f"own/{name}.png", seed)
    pattern = r"(?P<split>\w+)/(?P<pid>\d)_(?P<camid>\d)"
    source = Source(layout="pattern", folder=tmp_path / "own", pattern=pattern, classify=False)
    said = (
        r"no image is a query \(own: gallery 1 images of 1 identities, train 2 images of 1 identities\); add queries"
    )
    with pytest.raises(CuhsError, match=said):
        built({"own": source})


cases = pytest.mark.skipif(
    not os.environ.get("CUHS_CASES"), reason="CUHS_CASES names no folder of inputs that failed once"
)


@cases
@pytest.mark.parametrize("folder", ["webp", "deep"])
def test_every_image_of_these_is_used_or_named(tmp_path: Path, folder: str) -> None:
    root = Path(os.environ["CUHS_CASES"]) / "raw" / folder
    source = Source(
        layout="pattern", folder=root, pattern=r"p(?P<pid>\d)/(?P<camid>\d)_(?P<frame>\d)", classify=False
    )
    config = DatasetConfig(name="c", raw=root, sources={"c": source}, allow=("near_duplicates",))
    summary = build(config, tmp_path / "out")
    files = sum(path.is_file() for path in root.rglob("*"))
    used = sum(counted["images"] for counted in summary["splits"].values())
    assert used + len(summary["quarantine"]) + sum(kind["count"] for kind in summary["unread"]) == files
    assert used == files or all("8 bits" in item["reason"] for item in summary["quarantine"])
    assert Image.open(root / "p1/2_0.jpg" if folder == "webp" else root / "p1/2_0.png").size


@cases
def test_msmt17_in_market_s_form_is_built_and_nested_folders_are_named(tmp_path: Path) -> None:
    root = Path(os.environ["CUHS_CASES"]) / "raw"
    source = Source(layout="market1501", folder=root / "msmt_market/m", classify=False, pids_per_split=True)
    allow = ("near_duplicates",)
    summary = build(DatasetConfig(name="c", raw=root, sources={"m": source}, allow=allow), tmp_path / "out")
    assert {split: counted["ids"] for split, counted in summary["splits"].items()} == {
        "train": 4,
        "query": 4,
        "gallery": 4,
    }
    nested = Source(layout="market1501", folder=root / "nested/m", classify=False)
    with pytest.raises(CuhsError, match=r"nested/m/Market-1501-v15\.09\.15 is of this layout: give it as the folder"):
        build(DatasetConfig(name="c", raw=root, sources={"m": nested}), tmp_path / "out")
