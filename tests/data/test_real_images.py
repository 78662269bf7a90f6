import os
from pathlib import Path

import pytest

from cuhs.data.build import build
from cuhs.data.shards import read_split
from cuhs.data.sources import SourceFiles

pytestmark = pytest.mark.skipif(
    "CUHS_REAL_DATA" not in os.environ, reason="CUHS_REAL_DATA names no folder of real images"
)


def real_sources() -> dict[str, SourceFiles]:
    raw = Path(os.environ["CUHS_REAL_DATA"])
    return {
        "cuhk03": SourceFiles(
            "cuhk03",
            raw / "cuhk03",
            split=raw / "cuhk03/cuhk03_new_protocol_config_labeled.mat",
            clothing=raw / "annotations/cuhk03_clothing.csv",
            boxes=raw / "annotations/cuhk03_head_shoulder.csv",
        ),
        "partial_reid": SourceFiles(
            "partial_reid",
            raw / "partial_reid",
            clothing=raw / "annotations/partial_reid_clothing.csv",
            boxes=raw / "annotations/partial_reid_head_shoulder.csv",
        ),
    }


def test_benchmark_of_real_sources_has_the_published_counts(tmp_path: Path) -> None:
    summary = build(name="real", protocol="benchmark", sources=real_sources(), out=tmp_path / "out")
    assert summary["sources"]["cuhk03"] == {
        "train": {"ids": 427, "images": 4145},
        "query": {"ids": 416, "images": 832},
        "gallery": {"ids": 416, "images": 3200},
    }
    assert summary["sources"]["partial_reid"] == {
        "train": {"ids": 0, "images": 0},
        "query": {"ids": 60, "images": 600},
        "gallery": {"ids": 60, "images": 300},
    }
    assert sum(counted["annotation"] for counted in summary["boxes"].values()) == 6669 + 515
    assert summary["quarantine"] == [] and summary["dropped_boxes"] == []
    assert summary["queries_without_match"]["count"] == 0
    assert summary["unlabelled"] == {"cuhk03": 100, "partial_reid": 0}
    row = read_split(tmp_path / "out", "train").to_pylist()[0]
    assert 0 <= row["box"][0] < row["box"][2] <= 1 and 0 <= row["box"][1] < row["box"][3] <= 1


def test_fine_grained_groups_of_real_sources_hold_all_who_wear_the_colour(tmp_path: Path) -> None:
    summary = build(name="real", protocol="fg_reid", sources=real_sources(), out=tmp_path / "out", other_share=0)
    colours, groups = summary["colours"], summary["groups"]
    for colour in ("black", "white"):
        assert groups[colour]["train"]["ids"] + groups[colour]["query"]["ids"] == colours[colour]["ids"]
    assert groups["all"]["query"]["ids"] == groups["black"]["query"]["ids"] + groups["white"]["query"]["ids"]
    assert summary["queries_without_match"]["count"] == 0
