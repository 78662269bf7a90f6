import os
from pathlib import Path

import pytest

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.build.leaks import Problem
from cuhs.build.near_duplicates import COPY
from cuhs.data.shards import read_split
from cuhs.raw.config import Source

# Two people have two identities each, one of which trains and one of which tests.
ALLOW: list[Problem] = ["near_duplicates"]

pytestmark = pytest.mark.skipif(
    "CUHS_REAL_DATA" not in os.environ, reason="CUHS_REAL_DATA names no folder of real images"
)


def real_sources() -> dict[str, Source]:
    raw = Path(os.environ["CUHS_REAL_DATA"])
    return {
        "cuhk03": Source(
            layout="cuhk03",
            folder=raw / "cuhk03",
            split=raw / "cuhk03/cuhk03_new_protocol_config_labeled.mat",
            clothing=raw / "annotations/cuhk03_clothing.csv",
            boxes=raw / "annotations/cuhk03_head_shoulder.csv",
            classify=False,
        ),
        "partial_reid": Source(
            layout="partial_reid",
            folder=raw / "partial_reid",
            clothing=raw / "annotations/partial_reid_clothing.csv",
            boxes=raw / "annotations/partial_reid_head_shoulder.csv",
        ),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def benchmark(folder: Path) -> dict:
    config = DatasetConfig(name="real", raw=folder, sources=real_sources(), allow=ALLOW)
    return build(config, folder / "benchmark")


@pytest.fixture(scope="module")
def fg_reid(folder: Path) -> dict:
    config = DatasetConfig(name="real", raw=folder, protocol="fg_reid", sources=real_sources())
    return build(config, folder / "fg_reid")


def test_benchmark_of_real_sources_has_the_published_counts(folder: Path, benchmark: dict) -> None:
    assert benchmark["sources"]["cuhk03"] == {
        "train": {"ids": 427, "images": 4145},
        "query": {"ids": 416, "images": 832},
        "gallery": {"ids": 416, "images": 3200},
    }
    assert benchmark["sources"]["partial_reid"] == {
        "train": {"ids": 0, "images": 0},
        "query": {"ids": 60, "images": 600},
        "gallery": {"ids": 60, "images": 300},
    }
    assert sum(counted["annotation"] for counted in benchmark["boxes"].values()) == 6669 + 515
    assert benchmark["parts"]["partial_reid"] == {
        "occluded_body_images/ (query)": {"ids": 60, "images": 300},
        "partial_body_images/ (query)": {"ids": 60, "images": 300},
        "whole_body_images/ (gallery)": {"ids": 60, "images": 300},
    }
    assert [(kind["kind"], kind["first"]) for kind in benchmark["unread"]] == [(".txt", "Readme.txt")]
    assert benchmark["quarantine"] == [] and benchmark["dropped_boxes"] == []
    assert benchmark["queries_without_match"]["count"] == 0
    assert benchmark["colour_origins"] == {
        "cuhk03": {"label": 743, "classifier": 0, "none": 100},
        "partial_reid": {"label": 60, "classifier": 0, "none": 0},
    }
    row = read_split(folder / "benchmark", "train").to_pylist()[0]
    assert 0 <= row["box"][0] < row["box"][2] <= 1 and 0 <= row["box"][1] < row["box"][3] <= 1


def test_the_only_copies_among_real_people_are_frames_of_one_person_with_two_identities(benchmark: dict) -> None:
    assert benchmark["shared_identities"]["count"] == 0

    def people(pairs: list[dict]) -> list[tuple[str, ...]]:
        return [tuple(pair[side].rpartition("/")[2][:5] for side in ("train", "test")) for pair in pairs]

    copies = benchmark["near_duplicates"]
    assert people(copies["first"]) == [("1_451", "1_452"), ("1_624", "1_625"), ("1_624", "1_625")]
    assert copies["count"] == 3 and max(pair["bits"] for pair in copies["first"]) <= 30
    # Further frames of that walk come next; nobody else is within 9 bits of a copy.
    closest = benchmark["closest_pairs"]
    assert people(closest[:1]) == [("1_624", "1_625")]
    assert min(pair["bits"] for pair in closest[1:]) == COPY + 10


def test_real_fine_grained_groups_have_the_proportions_of_table_1(fg_reid: dict) -> None:
    for group, ids, of in (("black", 837, 418), ("white", 706, 628)):
        counts = fg_reid["groups"][group]
        assert counts["gallery"]["ids"] / counts["query"]["ids"] == pytest.approx(ids / of, rel=0.01)


def test_fine_grained_groups_of_real_sources_hold_all_who_wear_the_colour(fg_reid: dict, benchmark: dict) -> None:
    groups, worn = fg_reid["groups"], benchmark["colours"]
    for colour in ("black", "white"):
        wearing = fg_reid["colours"][colour]
        assert wearing == worn[colour]
        # A person in other clothes joins for three or four of the group.
        people = groups[colour]["train"]["ids"] + groups[colour]["query"]["ids"]
        assert people == pytest.approx(1.3 * wearing["ids"], abs=2)
    assert fg_reid["queries_without_match"]["count"] == 0
