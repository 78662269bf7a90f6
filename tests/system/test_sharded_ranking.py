"""A gallery in Parquet files, ranked by two workers of a local Ray."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features
from cuhs.evaluation.ranking import rank
from pipelines.evaluation.sharded_ranking import rank_files
from tests.evaluation.problems import assert_same, whole_number_problem

pytestmark = pytest.mark.system


def write(file: Path, part: Features) -> Path:
    pids = part.pids.astype(str)
    columns = {"feature": list(part.values), "pid": pids, "camid": part.camids, "junk": part.is_junk}
    pq.write_table(pa.table(columns), file)
    return file


def test_shards_on_ray_give_the_ranking_of_the_whole(local_ray: None, tmp_path: Path) -> None:
    query, gallery = whole_number_problem(queries=60, gallery=1000)
    asked = write(tmp_path / "query.parquet", query)
    parts = [gallery.take(rows) for rows in np.split(np.arange(1000), [10, 500, 500, 900])]
    files = [write(tmp_path / f"{i}.parquet", part) for i, part in enumerate(parts)]
    assert_same(rank_files(asked, files, rows=128), rank(query, gallery))

    row = int(np.flatnonzero(~parts[-1].is_junk)[3])
    parts[-1].values[row, 0] = np.nan
    write(files[-1], parts[-1])
    with pytest.raises(CuhsError, match=rf"\(row {row} of 4\.parquet\) holds NaN"):
        rank_files(asked, files)
