"""A gallery in Parquet files, ranked by two workers of a local Ray."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from cuhs.errors import CuhsError
from cuhs.evaluation.ranking import rank
from pipelines.evaluation.sharded_ranking import rank_files
from tests.evaluation.problems import assert_same, whole_number_problem

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def two_workers() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def write(file: Path, features: np.ndarray, pids: np.ndarray, camids: np.ndarray, junk: np.ndarray) -> Path:
    columns = {"feature": list(features), "pid": pids.astype(str), "camid": camids, "junk": junk}
    pq.write_table(pa.table(columns), file)
    return file


def test_shards_on_ray_give_the_ranking_of_the_whole(tmp_path: Path) -> None:
    query, query_pids, query_camids, gallery, pids, camids = whole_number_problem(queries=60, gallery=1000)
    problem = (query, query_pids, query_camids, gallery, pids, camids)
    asked = write(tmp_path / "query.parquet", query, query_pids, query_camids, np.zeros(60, bool))
    files = [
        write(tmp_path / f"{i}.parquet", gallery[rows], pids[rows], camids[rows], pids[rows] < 0)
        for i, rows in enumerate(np.split(np.arange(1000), [10, 500, 500, 900]))
    ]
    assert_same(rank_files(asked, files, rows=128), rank(*problem))

    features = gallery[900:].copy()
    row = int(np.flatnonzero(pids[900:] >= 0)[3])
    features[row, 0] = np.nan
    write(files[-1], features, pids[900:], camids[900:], pids[900:] < 0)
    with pytest.raises(CuhsError, match=rf"\(row {row} of 4\.parquet\) holds NaN"):
        rank_files(asked, files)
