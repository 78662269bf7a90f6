"""An epoch that was cut off at any step and gone on with is the undisturbed one: both trainings, one worker and two.

Run as a script, ``test_epoch.py RANK DATASET NETWORK FOLDER``, this file is one of two workers.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from cuhs.data.augment import Augmentation
from cuhs.data.dataset import PersonImages, collate
from cuhs.data.sampler import IdentitySampler, ShuffleSampler
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training import checkpoint
from cuhs.training.config import HslTraining, ReIDTraining
from cuhs.training.epoch import Epoch, EpochPart, OnStep
from cuhs.training.hsl import train_hsl_epoch
from cuhs.training.reid import Classified, train_epoch
from cuhs.training.schedule import adam

WORKERS, STEPS, EPOCH = 2, 4, 1
CUTS = tuple(range(1, STEPS))
# Rate, augmentation and batches differ from step to step: a step that is left out or done twice is seen.
SCHEDULE = {"epochs": 4, "lr": 2e-3, "warmup_epochs": 1, "decay": "cosine"}
HSL = HslTraining(**SCHEDULE, batch=4)
REID = ReIDTraining(**SCHEDULE, identities=3, images_per_identity=2)


class Cut(Exception):
    """The epoch was cut off."""


class Training:
    """Either training, as a worker has it."""

    def __init__(self, kind: str, dataset: Path, network: NetworkConfig, rank: int, workers: int, seed: int) -> None:
        torch.manual_seed(seed)
        images = PersonImages(dataset, "train", 64, 32, Augmentation(pad=4, jitter=0.1, erasing=0.2))
        if kind == "hsl":
            boxed = np.flatnonzero(~np.isnan(images.boxes[:, 0]))
            self.config, self.train = HSL, train_hsl_epoch
            self.model = make_hsl(network)
            self.sampler = ShuffleSampler(boxed, HSL.batch, HSL.seed, rank, workers)
        else:
            self.config, self.train = REID, train_epoch
            self.model = Classified(CUHS(network, make_hsl(network)), len(images.identities))
            self.sampler = IdentitySampler(images.labels, 3, 2, REID.seed, rank, workers)
        self.wrapped = DistributedDataParallel(self.model) if workers > 1 else self.model
        self.loader = DataLoader(images, batch_sampler=self.sampler, collate_fn=collate)
        self.optimizer = adam(self.model, self.config)

    def epoch(self, part: EpochPart, on_step: OnStep = lambda done, steps: None) -> dict[str, float]:
        self.sampler.set_epoch(EPOCH, part.steps)
        rest = Epoch(EPOCH, len(self.sampler), part, on_step)
        return self.train(self.wrapped, self.loader, self.optimizer, self.config, rest)

    def result(self, metrics: dict[str, float], images: int) -> dict[str, Any]:
        """All that an epoch leaves behind but its speed."""
        kept = {name: value for name, value in metrics.items() if name not in ("images_per_second", "waiting")}
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**state, "metrics": kept, "images": images}


def undisturbed(make: Callable[..., Training]) -> dict[str, Any]:
    training, part = make(seed=0), EpochPart()
    return training.result(training.epoch(part), part.images)


def gone_on_with(make: Callable[..., Training], cut: int, folder: Path) -> dict[str, Any]:
    """Cut off after so many steps, saved by the first worker, and gone on with by others of another seed."""

    def stop(done: int, steps: int) -> None:
        assert steps == STEPS
        if done == cut:
            raise Cut

    first, part = make(seed=0), EpochPart()
    with pytest.raises(Cut):
        first.epoch(part, stop)
    parts = [part.state()]
    if dist.is_initialized():
        parts = [{}] * WORKERS
        dist.all_gather_object(parts, part.state())
    if not dist.is_initialized() or dist.get_rank() == 0:
        state = {"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict(), "parts": parts}
        checkpoint.save(folder, state)
    if dist.is_initialized():
        dist.barrier()
    state = checkpoint.load(folder)
    second = make(seed=1)
    second.model.load_state_dict(state["model"])
    second.optimizer.load_state_dict(state["optimizer"])
    part = EpochPart.of_worker(state["parts"], dist.get_rank() if dist.is_initialized() else 0, len(parts))
    assert part.steps == cut and part.seconds > 0
    steps: list[int] = []
    metrics = second.epoch(part, lambda done, steps_: steps.append(done))
    assert steps == [*range(cut + 1, STEPS + 1)]
    return second.result(metrics, part.images)


def assert_same(found: Any, expected: Any, name: str = "") -> None:
    """Bit for bit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key, value in expected.items():
            assert_same(found[key], value, f"{name}/{key}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), name
    else:
        assert found == expected, name


def worker(rank: int, dataset: Path, network: NetworkConfig, folder: Path) -> None:
    """One of the workers: it writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS)
    found = {}
    for kind in ("hsl", "reid"):

        def make(seed: int, kind: str = kind) -> Training:
            return Training(kind, dataset, network, rank, WORKERS, seed)

        found[kind] = [undisturbed(make), *(gone_on_with(make, cut, folder / f"{kind}-{cut}") for cut in CUTS)]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(
    tiny_dataset: Path, tiny_config: NetworkConfig, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    (folder / "network.json").write_text(tiny_config.model_dump_json())
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    command = [str(tiny_dataset), str(folder / "network.json"), str(folder)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), *command], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(WORKERS)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stderr.close()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORKERS)]


@pytest.mark.parametrize("kind", ["hsl", "reid"])
def test_an_epoch_cut_off_at_any_step_ends_as_the_undisturbed_one(
    kind: str, tiny_dataset: Path, tiny_config: NetworkConfig, tmp_path: Path
) -> None:
    def make(seed: int) -> Training:
        return Training(kind, tiny_dataset, tiny_config, 0, 1, seed)

    expected = undisturbed(make)
    assert expected["images"] == STEPS * (4 if kind == "hsl" else 6) and expected["metrics"]["loss"] > 0
    for cut in CUTS:
        assert_same(gone_on_with(make, cut, tmp_path / str(cut)), expected)


@pytest.mark.parametrize("kind", ["hsl", "reid"])
def test_so_it_does_on_two_workers(kind: str, workers: list[dict[str, Any]]) -> None:
    losses = []
    for found in workers:
        expected, *resumed = found[kind]
        assert len(resumed) == len(CUTS)
        for result in resumed:
            assert_same(result, expected)
        losses.append(expected["metrics"]["loss"])
    # Each has sums of its own: one worker's for both would not do.
    assert losses[0] != losses[1]


def test_other_workers_than_before_share_what_was_done() -> None:
    states = [
        {"steps": 3, "images": 24, "seconds": 2.0, "waited": 0.5, "losses": {"loss": 1.5}},
        # As checkpoints were before waiting was measured.
        {"steps": 3, "images": 24, "seconds": 3.0, "losses": {"loss": 2.5}},
    ]
    assert EpochPart.of_worker(states, 1, 2) == EpochPart(3, 24, 3.0, 0.0, {"loss": 2.5})
    assert EpochPart.of_worker(states, 0, 1) == EpochPart(3, 48, 3.0, 0.5, {"loss": 2.0})
    assert EpochPart.of_worker(states, 3, 4) == EpochPart(3, 12, 3.0, 0.5, {"loss": 2.0})
    assert EpochPart.of_worker([], 0, 2) == EpochPart()


def test_a_part_is_of_plain_values_and_its_copies_are_its_own() -> None:
    part = EpochPart(1, 8, 0.5, 0.1, {"loss": torch.tensor(0.1)})
    state = part.state()
    losses = {"loss": float(np.float32(0.1))}
    assert state == {"steps": 1, "images": 8, "seconds": 0.5, "waited": 0.1, "losses": losses}
    again = EpochPart.of_worker([state], 0, 1)
    again.losses["loss"] = 3.0
    assert state["losses"]["loss"] == float(np.float32(0.1))


if __name__ == "__main__":
    rank, dataset, network, folder = sys.argv[1:]
    config = NetworkConfig.model_validate_json(Path(network).read_text())
    worker(int(rank), Path(dataset), config, Path(folder))
