import re
from pathlib import Path

import numpy as np
import pytest

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import evaluate_groups
from cuhs.evaluation.intervals import paired
from pipelines.evaluation.comparison import compare, read
from pipelines.evaluation.tables import write_queries
from pipelines.tracking.mlflow_store import connect
from pipelines.tracking.run import Run


def evaluate(noise: float, path: Path) -> Path:
    rng = np.random.default_rng(1)
    pids = np.array([f"s/{i:04d}" for i in range(40)])
    groups = [["all", "black" if i % 2 else "white"] for i in range(40)]
    names = [f"{i}.jpg" for i in range(40)]
    centres = rng.normal(size=(40, 8))
    query = Features(centres + noise * rng.normal(size=(40, 8)), pids, np.array(["1"] * 40), names, groups)
    gallery = Features(centres, pids, np.array(["2"] * 40), names, groups)
    write_queries(path, evaluate_groups(query, gallery, resamples=10), query)
    return path


def test_a_better_model_is_ahead_by_an_interval_without_zero(tmp_path: Path) -> None:
    good, bad = evaluate(0.05, tmp_path / "good.csv"), evaluate(2.0, tmp_path / "bad.csv")
    results = {group: (count, d) for group, count, d in compare([read(str(good))], [read(str(bad))])}
    assert {group: count for group, (count, _) in results.items()} == {"all": 40, "black": 20, "white": 20}
    for _, difference in results.values():
        assert 0 < difference.low <= difference.mean <= difference.high
        assert difference.p < 0.05


def test_a_model_is_not_ahead_of_itself(tmp_path: Path) -> None:
    same = read(str(evaluate(0.5, tmp_path / "a.csv")))
    for _, _, difference in compare([same], [same]):
        assert (difference.mean, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_several_trainings_are_compared_by_the_queries_that_all_share(tmp_path: Path) -> None:
    trainings = [read(str(evaluate(noise, tmp_path / f"{noise}.csv"))) for noise in (0.9, 1.0, 1.1)]
    other = read(str(evaluate(2.0, tmp_path / "other.csv")))
    del trainings[1]["black"]
    del trainings[2]["all"]["s/7.jpg"]
    found = {group: (count, difference) for group, count, difference in compare(trainings, [other])}
    assert {group: count for group, (count, _) in found.items()} == {"all": 39, "white": 20}
    values = np.array([[each["white"][name][1] for name in sorted(other["white"])] for each in [*trainings, other]])
    pids = np.array([other["white"][name][0] for name in sorted(other["white"])])
    assert found["white"][1] == pytest.approx(paired(values[:3], values[3:], pids))


def test_average_precision_goes_through_the_file_unchanged(tmp_path: Path) -> None:
    queries = read(str(evaluate(1.0, tmp_path / "a.csv")))
    assert list(queries) == ["all", "black", "white"]
    assert queries["all"]["s/3.jpg"][0] == "s/0003"
    assert all(0 < ap <= 1 for _, ap in queries["all"].values())


def test_nothing_in_common_no_such_run_and_a_foreign_table_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(CuhsError, match="no query in common"):
        list(compare([{"all": {"a": ("1", 0.5)}}], [{"all": {"b": ("1", 0.5)}}]))
    with pytest.raises(CuhsError, match="0123: neither"):
        read("0123")
    Path("table.csv").write_text("x,y\n1,2\n")
    with pytest.raises(CuhsError, match=re.escape("table.csv: not a table of queries")):
        read("table.csv")


def test_an_evaluation_is_read_by_its_run_or_by_its_registered_model(store: Path, tmp_path: Path) -> None:
    table = evaluate(0.5, tmp_path / "queries.csv")
    run = Run.start("exp", "evaluated", {}, {})
    run.artifacts(table, "evaluation")
    client = connect()
    client.create_registered_model("net")
    client.create_model_version("net", "file:nowhere", run.id)
    client.set_registered_model_alias("net", "champion", "1")
    for name in (run.id, "models:/net@champion", "models:/net/1"):
        assert read(str(name)) == read(str(table))
    for name in ("models:/net@nobody", "models:/net/2", "models:/other@champion", "models:/net"):
        with pytest.raises(CuhsError, match=f"^{name}: neither a queries.csv nor an evaluated MLflow run$"):
            read(name)


def test_a_server_that_is_away_is_not_taken_for_a_missing_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CuhsError, match=r"127\.0\.0\.1:9 does not answer"):
        read("0" * 32)


@pytest.mark.parametrize("row", [f"all,{'q' * 200_000},s/1,1,0.5,1", "all,q,s/1,1,half,1"])
def test_a_damaged_table_is_one_short_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "q.csv").write_text(f"group,query,pid,camid,ap,first_hit\n{row}\n")
    with pytest.raises(CuhsError, match=r"q\.csv: not a table of queries") as failed:
        read(str(tmp_path / "q.csv"))
    assert len(str(failed.value)) < 500 and "\n" not in str(failed.value)


def test_identities_that_look_like_formulas_are_text_and_the_same_identities_when_read(tmp_path: Path) -> None:
    pids = np.array(["=HYPERLINK(1)", "+1", "-2", "@x"])
    features = Features(np.eye(4, dtype=np.float32), pids, np.array(["=1", "-1", "1", "2"]), groups=[["all"]] * 4)
    gallery = Features(np.eye(4, dtype=np.float32), pids, np.array(["9"] * 4), groups=[["all"]] * 4)
    write_queries(tmp_path / "q.csv", evaluate_groups(features, gallery, resamples=10), features)
    for line in (tmp_path / "q.csv").read_text().splitlines()[1:]:
        assert [cell for cell in line.split(",") if cell[0] in "=+-@"] == []
    assert {pid for pid, _ in read(str(tmp_path / "q.csv"))["all"].values()} == set(pids)
