"""Writes the tables of an evaluation: CMC curves, queries, thresholds."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cuhs.csv_files import write_csv
from cuhs.documents import Document
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import Group
from cuhs.evaluation.thresholds import OperatingPoint, PairDistances
from pipelines.base.figures import EVALUATE

CMC_RANKS = 50
QUERY_COLUMNS = ("group", "query", "pid", "camid", "ap", "first_hit")
FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)
THRESHOLDS = Document(dict[str, dict[str, float]], "a table of thresholds", EVALUATE)


def write_cmc(path: Path, groups: Mapping[str, Group]) -> None:
    """CMC curves as a table: ``rank``, then the share of queries in percent for each group."""
    curves = {name: group.ranking.cmc(CMC_RANKS) for name, group in groups.items() if group.metrics["queries"]}
    rows = ((k + 1, *(round(100 * float(curve[k]), 3) for curve in curves.values())) for k in range(CMC_RANKS))
    write_csv(path, ["rank", *curves], rows)


def write_queries(path: Path, groups: Mapping[str, Group], query: Features) -> None:
    """The result of each query in each group; the average precision is empty if the query has no match."""
    rows = []
    for name, group in groups.items():
        ranking = group.ranking
        for row, ap, hit in zip(group.query_rows, ranking.ap, ranking.first_hit, strict=True):
            # With the source's name, because two sources may have files with the same path.
            query_name = f"{str(query.pids[row]).partition('/')[0]}/{query.name(row)}"
            value = None if math.isnan(ap) else float(ap)
            rows.append((name, query_name, str(query.pids[row]), str(query.camids[row]), value, int(hit)))
    write_csv(path, QUERY_COLUMNS, rows)


def write_thresholds(path: Path, pairs: PairDistances) -> None:
    """The thresholds by false match rate: Euclidean distances up to which two embeddings are the same person."""
    points = {f"{rate:g}": asdict(point) for rate, point in operating_points(pairs)}
    path.write_text(json.dumps(points, indent=2, allow_nan=False) + "\n")


def operating_points(pairs: PairDistances) -> list[tuple[float, OperatingPoint]]:
    """The threshold for each of :data:`FALSE_MATCH_RATES` for which there are enough pairs."""
    if not pairs.genuine.any():
        return []
    points = ((rate, pairs.at_false_match_rate(rate)) for rate in FALSE_MATCH_RATES)
    return [(rate, point) for rate, point in points if point is not None]
