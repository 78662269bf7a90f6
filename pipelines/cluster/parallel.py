"""Spreads a stage's parallel work over a Ray cluster if there is one, else over this machine's cores."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cuhs.build.parallel import AHEAD, Mapper, map_on_cores
from pipelines.cluster.entry import elsewhere
from pipelines.cluster.joining import start_ray

T = TypeVar("T")
R = TypeVar("R")


def mapper() -> Mapper:
    """:func:`map_on_cluster` if ``RAY_ADDRESS`` names a cluster, which must share this disk, or if Ray already runs.

    Otherwise :func:`~cuhs.build.parallel.map_on_cores`; also if ``RAY_ADDRESS`` names a job server (``http://…``),
    which cannot read the files here.
    """
    ray = sys.modules.get("ray")
    if not elsewhere() and (os.environ.get("RAY_ADDRESS") or (ray and ray.is_initialized())):
        return map_on_cluster
    return map_on_cores


def map_on_cluster(function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
    """A :class:`~cuhs.build.parallel.Mapper` over the CPUs of a Ray cluster.

    Files that tasks name must have the same path on every node. A task whose worker or node is lost is repeated; a
    task whose ``function`` raises is not.
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
        # The message of Ray's own exception is the worker's whole traceback.
        raise error.cause from None
