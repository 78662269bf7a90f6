"""What a worker knows of its training's other workers: on Ray Train, or alone in the stage's process."""

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from cuhs.errors import CuhsError
from cuhs.machine import usable_cpus
from pipelines.base.params import Compute

T = TypeVar("T")
# How workers' metrics are combined, if not by their mean.
COMBINED: dict[str, Callable[[list[float]], float]] = {"images_per_second": sum, "gpu_memory_mib": max}


class Team(Protocol):
    """A worker's place among all workers.

    Attributes:
        rank: the worker's number.
        size: the number of workers.
        machine: the number of its machine, and of its place there, for reports on machines.
        machines: whether there is more than one machine.
        device: what it computes on.
        threads: how many threads it computes with.
    """

    rank: int
    size: int
    machine: tuple[int, int]
    machines: bool
    device: torch.device
    threads: int

    def from_first(self, value: T) -> T:
        """The first worker's value; all workers wait for it."""

    def leaving(self) -> set[str]:
        """The nodes that have to go."""

    def report(self, metrics: dict[str, float]) -> None:
        """Give an epoch's measures to Ray Tune; all workers wait for each other."""


class RayTeam:
    """The workers of a Ray Train run; must be made on one of them."""

    def __init__(self) -> None:
        import ray
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.size = context.get_world_rank(), context.get_world_size()
        self.machine = context.get_node_rank(), context.get_local_rank()
        self.machines = context.get_world_size() > context.get_local_world_size()
        self.device = ray.train.torch.get_device()
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        # Ray counts the machine's cores; more threads than this process may use would wait for each other.
        self.threads = max(1, min(math.ceil(cpus), usable_cpus()))

    def from_first(self, value: T) -> T:
        """See :class:`Team`."""
        from ray.train.collective import broadcast_from_rank_zero

        first: T = broadcast_from_rank_zero(value)
        return first

    def leaving(self) -> set[str]:
        """See :class:`Team`."""
        import ray.train

        info = ray.train.get_preemption_info()
        return set(info.preempted_node_ids if info else ())

    def report(self, metrics: dict[str, float]) -> None:
        """See :class:`Team`."""
        import ray.train

        ray.train.report(metrics)


class Alone:
    """The only worker of a training in this process.

    Args:
        compute: whether to use a GPU, and how many cores at most.

    Raises:
        CuhsError: there is no GPU, and there must be one.
    """

    rank, size = 0, 1
    machine, machines = (0, 0), False

    def __init__(self, compute: Compute) -> None:
        gpu = compute.gpu != "no" and torch.cuda.is_available()
        if compute.gpu == "yes" and not gpu:
            raise CuhsError("compute.gpu: PyTorch finds no GPU on this machine; set it to auto or no")
        self.device = torch.device("cuda" if gpu else "cpu")
        self.threads = min(compute.cpus_per_worker or usable_cpus(), usable_cpus())

    def from_first(self, value: T) -> T:
        """See :class:`Team`."""
        return value

    def leaving(self) -> set[str]:
        """See :class:`Team`."""
        return set()

    def report(self, metrics: dict[str, float]) -> None:
        """See :class:`Team`: nobody waits."""


def of_all(team: Team, value: T) -> list[T]:
    """The values of all workers, by rank."""
    if team.size == 1:
        return [value]
    gathered: list[Any] = [value] * team.size
    dist.all_gather_object(gathered, value)
    return gathered


def mean_of_all(team: Team, metrics: dict[str, float]) -> dict[str, float]:
    """The means of the metrics that all workers have, but the sum of ``images_per_second`` and the largest memory."""
    gathered = of_all(team, metrics)
    values = {key: [each[key] for each in gathered] for key in metrics if all(key in each for each in gathered)}
    return {key: COMBINED.get(key, fmean)(each) for key, each in values.items()}
