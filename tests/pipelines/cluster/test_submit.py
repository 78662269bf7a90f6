"""What is submitted, followed and taken home, against a job server made up here; tests/system has a real one."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.job_submission import JobStatus

from cuhs.errors import CuhsError
from pipelines.base import params
from pipelines.base.signals import Terminated
from pipelines.cluster import job, submit

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


class Jobs:
    """A job server that answers what it was told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.submitted: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.known: dict[str, Any] = {}
        self.log = "one\ntwo\nthree\n"
        self.tails: list[list[str]] = []

    def list_jobs(self) -> list[Any]:
        return list(self.known.values())

    def submit_job(self, **what: Any) -> str:
        self.submitted.append(what)
        return str(what["submission_id"])

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for text in self.tails.pop(0) if self.tails else [self.log]:
            yield text

    def get_job_info(self, name: str) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def get_job_logs(self, name: str) -> str:
        return self.log

    def get_job_status(self, name: str) -> JobStatus:
        return JobStatus.STOPPED

    def stop_job(self, name: str) -> None:
        self.stopped.append(name)


def info(status: str, code: int | None = 0, name: str = NAME) -> Any:
    return SimpleNamespace(status=JobStatus(status), driver_exit_code=code, submission_id=name)


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
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    return tmp_path


def order(**changes: Any) -> job.Order:
    values: dict[str, Any] = {"stage": "train", "inputs": {"data/dataset": "d1"}, "outputs": ("models/cuhs",)}
    values |= {"store": "s3://bucket/cuhs", "tracking": "http://127.0.0.1:5000", "commit": "c", "dirty": False}
    return job.Order(**values | changes)


def follow(jobs: Jobs) -> str | None:
    return submit._follow(jobs, Store(), order(), params.load())  # type: ignore[arg-type]


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
    with pytest.raises(CuhsError, match=r"network.weights: .*weights.pt lies outside of the project"):
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


def test_a_job_gets_code_and_order_and_no_variables() -> None:
    jobs = Jobs(info("SUCCEEDED"))
    name = follow(jobs)
    (what,) = jobs.submitted
    assert what["submission_id"] == name and name and name.endswith("-1")
    assert set(what["runtime_env"]) == {"working_dir", "env_vars"}
    assert what["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
    assert what["entrypoint"].startswith(f"python -m pipelines.cluster.job {name} '{{")


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_job_that_runs_already_is_followed(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(info("SUCCEEDED"))
    monkeypatch.setattr(submit, "_base", lambda order, code: NAME[:-2])
    jobs.known = {"other": info("RUNNING", name="other"), NAME: info(status)}
    assert follow(jobs) == NAME
    assert not jobs.submitted


def test_a_job_that_failed_or_was_fetched_is_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(info("SUCCEEDED"))
    monkeypatch.setattr(submit, "_base", lambda order, code: NAME[:-2])
    monkeypatch.setattr(submit, "read_results", lambda store, name: None)
    jobs.known = {NAME: info("FAILED", 1), NAME[:-1] + "2": info("SUCCEEDED", name=NAME[:-1] + "2")}
    assert follow(jobs) == NAME[:-1] + "3"


def test_a_job_that_succeeded_unfetched_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(info("SUCCEEDED"))
    monkeypatch.setattr(submit, "_base", lambda order, code: NAME[:-2])
    monkeypatch.setattr(submit, "read_results", lambda store, name: {"models/cuhs": "d"})
    jobs.known = {NAME: info("SUCCEEDED")}
    assert follow(jobs) == NAME and not jobs.submitted


def test_who_comes_second_follows_who_was_first(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(info("SUCCEEDED"))

    def taken(**what: Any) -> None:
        jobs.known[what["submission_id"]] = info("RUNNING", name=what["submission_id"])
        raise RuntimeError("submission_id exists")

    monkeypatch.setattr(jobs, "submit_job", taken)
    assert follow(jobs) == next(iter(jobs.known))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (info("STOPPED", None), "was stopped; the same command submits it again"),
        (info("FAILED", 2), r"failed \(exit code 2\); the same command"),
        (info("FAILED", 1), r"failed \(exit code 1\); the same command"),
    ],
)
def test_only_success_is_success(end: Any, message: str) -> None:
    with pytest.raises(CuhsError, match=message):
        follow(Jobs(end))


@pytest.mark.parametrize(
    "end",
    [
        info("FAILED", None),
        info("FAILED", -9),
        info("FAILED", 143),
        RuntimeError("Job cuhs-train-1 does not exist. 404"),
    ],
)
def test_a_job_whose_machines_were_lost_is_not_a_failure_of_its_own(end: Any) -> None:
    assert follow(Jobs(end)) is None


def test_a_lost_job_is_submitted_as_often_as_workers_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(submit, "_connect", lambda address: None)
    monkeypatch.setattr(submit.ObjectStore, "from_environment", Store)
    monkeypatch.setattr(submit, "_follow", lambda *a: tried.append(a))
    with pytest.raises(CuhsError, match="train: the cluster lost it 3 times"):
        submit.submit("train")
    assert len(tried) == 3


def test_a_connection_that_breaks_is_taken_up_without_a_word_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(ConnectionError("reset"), info("RUNNING"), info("SUCCEEDED"))
    jobs.tails = [["one\n"], ["one\ntw"], ["one\n", "two\n", "three\n"]]
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert follow(jobs)
    lines = [line for line in shown.getvalue().splitlines() if line in {"one", "two", "three"}]
    assert lines == ["one", "two", "three"]


def test_a_cluster_that_stays_away_is_one_line_that_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "PATIENCE_S", -1.0)
    with pytest.raises(CuhsError, match=r"RAY_ADDRESS: no answer .* cuhs-train-\w+-1 may still run"):
        follow(Jobs(ConnectionError("reset"), ConnectionError("reset")))


def test_ctrl_c_stops_the_job() -> None:
    jobs = Jobs(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        follow(jobs)
    assert jobs.stopped == [jobs.submitted[0]["submission_id"]]


def test_sigterm_leaves_the_job_running_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs()

    async def tail(name: str) -> AsyncIterator[str]:
        yield "one\n"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    monkeypatch.setattr(jobs, "tail_job_logs", tail)
    with pytest.raises(Terminated, match=r"stopped following cuhs-train-\w+-1 by SIGTERM; it goes on, and the same"):
        follow(jobs)
    assert len(jobs.submitted) == 1 and not jobs.stopped


def test_the_command_line_prints_what_ray_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit.ObjectStore, "from_environment", Store)
    monkeypatch.setattr(sys, "argv", ["submit", "train"])
    submit.main()
    printed = capsys.readouterr().out
    assert printed.startswith("ray job submit --submission-id cuhs-train-")
    text = printed.split("pipelines.cluster.job ")[1].split(" ", 1)[1].strip().strip("'")
    assert json.loads(text)["stage"] == "train"
