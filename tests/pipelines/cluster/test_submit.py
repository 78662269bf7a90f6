"""What is submitted to a cluster; what is done then is in test_decisions.py, and real in tests/system."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.job_submission import JobStatus

from cuhs.errors import CuhsError
from pipelines.base import params
from pipelines.cluster import decisions, job, submit
from pipelines.commands import submit as command

ROOT = Path(__file__).parents[3]
NAME = "cuhs-train-0123456789abcdef-1"


class Store:
    """An object store in memory: digests are contents."""

    url = "s3://bucket/cuhs"

    def __init__(self) -> None:
        self.results: dict[str, dict[str, str]] = {}
        self.pushed: list[str] = []

    def push(self, path: Path, progress: Any = None) -> str:
        self.pushed.append(str(path))
        return f"digest of {path}"

    def pull(self, digest: str, target: Path, progress: Any = None) -> None:
        target.write_text(digest)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the least that can be submitted."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name in ("cuhs", "pipelines"):
        (tmp_path / name / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "a.py").write_text("a = 1\n")
    (tmp_path / "pipelines/dvc.yaml").write_text((ROOT / "pipelines/dvc.yaml").read_text())
    for path in ("data/dataset/a.parquet", "models/hsl/model.json", "reports/hsl.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    return tmp_path


def order(**changes: Any) -> job.JobOrder:
    values: dict[str, Any] = {"stage": "train", "inputs": {"data/dataset": "d1"}, "outputs": ("models/cuhs",)}
    values |= {"store": "s3://bucket/cuhs", "tracking": "http://127.0.0.1:5000", "commit": {"id": "c"}}
    return job.JobOrder(**values | changes)


def test_an_order_names_inputs_by_content_and_outputs_by_path() -> None:
    store = Store()
    made = submit._order("train", params.load(), store)  # type: ignore[arg-type]
    assert store.pushed == ["data/dataset", "models/hsl", "reports/hsl.json"]
    assert made.inputs["models/hsl"] == "digest of models/hsl"
    assert made.outputs == ("models/cuhs", "models/run.json", "reports/training.json")
    assert job.read(made.to_json()) == made


def test_the_name_follows_from_the_order_and_the_code(project: Path) -> None:
    names = {
        submit._base(order(), project / "cuhs"),
        submit._base(order(inputs={"data/dataset": "d2"}), project / "cuhs"),
    }
    (project / "cuhs/a.py").write_text("a = 2\n")
    names.add(submit._base(order(), project / "cuhs"))
    assert len(names) == 3 and all(name.startswith("cuhs-train-") for name in names)


def test_the_code_travels_without_data_and_caches(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("code")
    submit._copy_code(folder)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == ["cuhs/a.py", "dvc.yaml", "params.yaml", "pipelines/a.py", "pipelines/dvc.yaml"]


def test_weights_in_the_project_travel_and_others_are_one_line(project: Path, tmp_path_factory: Any) -> None:
    (project / "data/weights.pt").write_text("w")
    p = params.with_values(params.load(), {"network.weights": "data/weights.pt"})
    assert submit._named(p) == [Path("data/weights.pt")]
    outside = tmp_path_factory.mktemp("elsewhere") / "weights.pt"
    outside.write_text("w")
    p = params.with_values(p, {"network.weights": str(outside)})
    with pytest.raises(CuhsError, match=r"network.weights: .*weights.pt is outside the project"):
        submit._named(p)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "a job on a cluster cannot write into a file here"),
        ("sqlite:///mlflow.db", "a job on a cluster cannot write into a file here"),
        ("https://me:" + "secret@host", "the password in it would be seen in Ray's dashboard"),
    ],
)
def test_a_tracking_server_that_a_job_cannot_use_is_one_line(
    uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(CuhsError, match=message) as caught:
        submit._order("train", params.load(), Store())  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_cluster_that_is_away_is_one_line() -> None:
    with pytest.raises(
        CuhsError, match=r"RAY_ADDRESS: http://127\.0\.0\.1:9 does not answer \(.*\); start the cluster"
    ):
        submit._connect("http://127.0.0.1:9")


def test_a_cluster_of_another_version_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "Client", lambda address: SimpleNamespace(ray_version=lambda: "2.40.0"))
    with pytest.raises(CuhsError, match=f"runs Ray 2.40.0, this is Ray {ray.__version__}; use one version"):
        submit._connect("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("stage", "gpu", "gpus"), [("train", "yes", None), ("evaluate", "yes", 1), ("evaluate", "no", None)]
)
def test_a_job_gets_code_and_order_and_no_variables(stage: str, gpu: str, gpus: int | None) -> None:
    p = params.with_values(params.load(), {"compute.gpu": gpu})
    what = submit._submission(NAME, order(stage=stage), Path("code"), p)
    assert what["entrypoint"].startswith(f"python -m pipelines.cluster.job {NAME} '{{")
    del what["entrypoint"]
    assert what == {
        "submission_id": NAME,
        "runtime_env": {
            "working_dir": "code",
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120", "OMP_WAIT_POLICY": "PASSIVE"},
        },
        # Who trains asks Ray Train for them.
        "entrypoint_num_gpus": gpus,
    }


def test_who_comes_second_follows_who_was_first() -> None:
    jobs: list[str] = []

    def taken(submission_id: str, **what: Any) -> None:
        jobs.append(submission_id)
        raise RuntimeError("submission_id exists")

    client: Any = SimpleNamespace(
        list_jobs=lambda: [SimpleNamespace(submission_id=name, status=JobStatus.RUNNING) for name in jobs],
        submit_job=taken,
    )
    store: Any = Store()
    assert submit._start(client, store, order(), Path("cuhs"), params.load()) == jobs[0]


def test_a_cluster_that_stays_away_is_one_line_that_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def tail(name: str) -> None:
        raise ConnectionError("reset")

    monkeypatch.setattr(decisions, "PATIENCE_S", -1.0)
    client: Any = SimpleNamespace(tail_job_logs=tail)
    with pytest.raises(CuhsError, match=rf"RAY_ADDRESS: no answer .* {NAME} may still run, and the same command"):
        submit._wait(client, NAME)


def test_a_lost_job_is_submitted_as_often_as_workers_may_fail() -> None:
    answers = iter([None, None, NAME])
    assert submit._until_it_succeeded(lambda: next(answers), "train", 2) == NAME
    answers = iter([None, None, None])
    with pytest.raises(CuhsError, match="train: the cluster lost it 3 times"):
        submit._until_it_succeeded(lambda: next(answers), "train", 2)
    assert list(answers) == []


def test_the_command_line_prints_what_ray_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit.ObjectStore, "from_environment", Store)
    assert command.main(["train"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ray job submit --submission-id cuhs-train-")
    text = printed.split("pipelines.cluster.job ")[1].split(" ", 1)[1].strip().strip("'")
    assert json.loads(text)["stage"] == "train"
