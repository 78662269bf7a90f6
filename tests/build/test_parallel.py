import json
import math
import os
import subprocess
import sys

import psutil
import pytest

from cuhs.build import parallel
from cuhs.build.parallel import AHEAD, map_on_cores
from cuhs.errors import CuhsError

# Evaluated where the task is worked off.
HERE = "__import__('os').getpid()"


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, whatever this machine has."""
    monkeypatch.setattr(parallel, "usable_cpus", lambda: 2)


def test_results_come_in_the_order_of_the_tasks(two_cores: None) -> None:
    tasks = [float(n) for n in range(200)]
    assert list(map_on_cores(math.sqrt, tasks)) == [math.sqrt(task) for task in tasks]


def test_the_work_is_done_in_other_processes(two_cores: None) -> None:
    assert os.getpid() not in set(map_on_cores(eval, [HERE] * 20))


def test_one_task_or_one_core_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(map_on_cores(eval, [HERE])) == [os.getpid()]
    monkeypatch.setattr(parallel, "usable_cpus", lambda: 1)
    assert list(map_on_cores(eval, [HERE] * 3)) == [os.getpid()] * 3


def test_results_that_wait_are_few(two_cores: None) -> None:
    taken = 0

    class Tasks(list):
        def __iter__(self):
            nonlocal taken
            for task in super().__iter__():
                taken += 1
                yield task

    results = map_on_cores(math.sqrt, Tasks([1.0] * 1000))
    for _ in range(10):
        next(results)
    assert taken <= 10 + AHEAD * 2 + 1
    results.close()


def test_an_exception_of_the_function_comes_through_as_it_is(two_cores: None) -> None:
    with pytest.raises(json.JSONDecodeError, match="Expecting value"):
        list(map_on_cores(json.loads, ["1", "2", "]", "3"]))


def test_a_killed_worker_is_one_line(two_cores: None) -> None:
    with pytest.raises(CuhsError, match="a worker process was killed, perhaps for lack of memory"):
        list(map_on_cores(os._exit, [9, 9, 9]))


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import time\n"
        "from cuhs.build import parallel\n"
        "if __name__ == '__main__':\n"
        "    parallel.usable_cpus = lambda: 2\n"
        "    results = parallel.map_on_cores(time.sleep, [0, 0, 60, 60, 60, 60, 60, 60])\n"
        "    next(results)\n"
        "    print('running', flush=True)\n"
        "    next(results), next(results)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "running\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
        parent.kill()
        parent.wait(timeout=30)
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
    finally:
        parent.kill()
        parent.stdout.close()
