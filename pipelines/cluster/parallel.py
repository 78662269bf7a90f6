"""Where a stage's parallel work goes: over a Ray cluster where there is one, else over this machine's cores."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cuhs.build.parallel import AHEAD, Mapper, map_on_cores
from pipelines.cluster.entry import elsewhere
from pipelines.cluster.resources import start_ray

T = TypeVar("T")
R = TypeVar("R")


def mapper() -> Mapper:
    """:func:`map_on_cluster` where ``RAY_ADDRESS`` names a cluster that shares this disk, or Ray runs already.

    Else, and where it names a job server (``http://…``), which knows nothing of the files here, the local one.
    """
    ray = sys.modules.get("ray")
    if not elsewhere() and (os.environ.get("RAY_ADDRESS") or (ray and ray.is_initialized())):
        return map_on_cluster
    return map_on_cores


def map_on_cluster(function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    """A :class:`~cuhs.build.parallel.Mapper` over the CPUs of a Ray cluster.

    Files that tasks name have to lie at the same place on every node. A task whose worker or node is lost is
    repeated; an exception of ``function`` is not.
    """
    import ray

    start_ray()
    run: Any = ray.remote(num_cpus=1)(_call)
    called = ray.put(function)
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(run.remote(called, task))
            if len(waiting) > AHEAD * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        for reference in waiting:
            ray.cancel(reference)


def _call(function: Callable[[T], R], task: T) -> R:
    return function(task)


def _result(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # Ray's own exception has the worker's whole traceback for a message.
        raise error.cause from None
