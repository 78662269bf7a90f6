"""What is done with jobs, for all that a cluster may say of them; tests/system/test_cluster.py has a real one."""

import pytest
from ray.job_submission import JobStatus

from pipelines.cluster.decisions import PATIENCE_S, Next, Outcome, after_error, job_of, outcome, unseen

PENDING, RUNNING = JobStatus.PENDING, JobStatus.RUNNING
SUCCEEDED, FAILED, STOPPED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (SUCCEEDED, 0, Outcome.SUCCEEDED),
        (STOPPED, None, Outcome.STOPPED),
        (STOPPED, 143, Outcome.STOPPED),
        (FAILED, 1, Outcome.FAILED),
        (FAILED, 2, Outcome.FAILED),
        # The driver had no time to end by itself.
        (FAILED, None, Outcome.LOST),
        (FAILED, -9, Outcome.LOST),
        (FAILED, 137, Outcome.LOST),
        (FAILED, 143, Outcome.LOST),
    ],
)
def test_only_success_is_success_and_a_killed_driver_is_no_failure_of_its_own(
    status: JobStatus, code: int | None, expected: Outcome
) -> None:
    assert outcome(status, code) is expected


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ({}, ("train-ab-1", False)),
        ({"train-abc-1": RUNNING, "evaluate-ab-1": RUNNING}, ("train-ab-1", False)),
        ({"train-ab-1": PENDING}, ("train-ab-1", True)),
        ({"other-1": RUNNING, "train-ab-1": RUNNING}, ("train-ab-1", True)),
        ({"train-ab-1": FAILED}, ("train-ab-2", False)),
        ({"train-ab-1": STOPPED, "train-ab-2": FAILED}, ("train-ab-3", False)),
        ({"train-ab-1": STOPPED, "train-ab-2": RUNNING}, ("train-ab-2", True)),
        # Its outputs were fetched, and are wanted again.
        ({"train-ab-1": SUCCEEDED}, ("train-ab-2", False)),
        ({"train-ab-1": FAILED, "train-ab-2": SUCCEEDED}, ("train-ab-3", False)),
    ],
)
def test_what_runs_is_followed_and_what_is_over_is_submitted_again(
    jobs: dict[str, JobStatus], expected: tuple[str, bool]
) -> None:
    assert job_of("train-ab", jobs, unfetched=lambda name: False) == expected


def test_what_succeeded_while_nobody_looked_is_fetched() -> None:
    jobs = {"train-ab-1": FAILED, "train-ab-2": SUCCEEDED, "train-ab-3": SUCCEEDED}
    assert job_of("train-ab", jobs, unfetched=lambda name: name == "train-ab-3") == ("train-ab-3", True)


def test_only_of_a_job_that_succeeded_outputs_are_looked_for() -> None:
    asked: list[str] = []
    job_of(
        "a",
        {"a-1": FAILED, "a-2": STOPPED, "a-3": SUCCEEDED, "b-1": SUCCEEDED},
        lambda name: bool(asked.append(name)),
    )
    assert asked == ["a-3"]


@pytest.mark.parametrize(
    ("error", "silent_s", "expected"),
    [
        ("Connection reset by peer", 0, Next.ASK_AGAIN),
        ("Connection refused", PATIENCE_S, Next.ASK_AGAIN),
        ("Connection refused", PATIENCE_S + 1, Next.GIVE_UP),
        ("Job cuhs-train-1 does not exist.", 0, Next.SUBMIT_AGAIN),
        ("404: Not Found", PATIENCE_S + 1, Next.SUBMIT_AGAIN),
    ],
)
def test_a_cluster_is_waited_for_and_one_that_started_anew_gets_the_job_again(
    error: str, silent_s: float, expected: Next
) -> None:
    assert after_error(error, silent_s) is expected


@pytest.mark.parametrize(
    "connections",
    [
        [["one\ntwo\nthree\n"]],
        [["one\n", "two\n", "three\n"]],
        [["one\n"], ["one\ntw"], ["one\n", "two\n", "three\n"]],
        [["one\ntwo\n"], [], ["o", "ne\ntwo\nthr", "ee\n"], ["one\ntwo\nthree\n"]],
    ],
)
def test_a_log_that_begins_anew_with_each_connection_is_printed_once(connections: list[list[str]]) -> None:
    shown = ""
    for texts in connections:
        place = 0
        for text in texts:
            shown += unseen(text, place, len(shown))
            place += len(text)
    assert shown == "one\ntwo\nthree\n"
