"""Two workers do what one does: same loss, same gradients, and triplets mined over both halves of the batch.

Run as a script, ``test_distributed.py RANK FOLDER``, this file is one of the two workers.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from cuhs.losses import metric_loss, total_loss
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.reid import Classified

WORKERS, BATCH = 2, 8
METRICS = ("triplet", "circle", "instance")


def global_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight images of four identities; each worker's half of it holds two of them."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, 64, 32, generator=generator, dtype=torch.float64)
    return images, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def model() -> Classified:
    """The same on every worker: normalisation in evaluation mode, with the statistics of the global batch.

    In float64, so that what differs is the algorithm and not the rounding.
    """
    torch.manual_seed(0)
    config = NetworkConfig.model_validate(
        {
            "backbone": "mobilenet_v2",
            "weights": "none",
            "channels": 6,
            "neck": "batchnorm",
            "streams": {
                "bn": {"kind": "global"},
                "in": {"kind": "instance", "top_k": 1},
                "head_shoulder": {"kind": "part"},
            },
        }
    )
    made = Classified(CUHS(config, make_hsl(config)), identities=4).double()
    for module in made.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    for classifier in made.classifiers.values():
        torch.nn.init.normal_(classifier.weight)
    with torch.no_grad():
        made.train()(global_batch()[0])
    return made.eval()


def gradients(network: torch.nn.Module, share: slice, metric: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of Eq. 14 on a worker's share of the global batch."""
    images, labels = (x[share] for x in global_batch())
    network.zero_grad(set_to_none=True)
    features, logits = network(images)
    # A margin above every distance: each anchor has a gradient.
    loss, _ = total_loss(features, logits, labels, metric_loss(metric, 5.0), 1.0, 0.5)
    loss.backward()
    named = {name.removeprefix("module."): p.grad for name, p in network.named_parameters() if p.requires_grad}
    return loss.item(), named


def far_negative(share: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Two identities far apart on worker 0; on worker 1 a third, close to the first."""
    features = torch.tensor([[0.0, 0], [1, 0], [90, 0], [91, 0], [0, 1.1], [0, 1.4], [0, 90], [0, 91]])
    return features[share].clone().requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])[share]


def mined(share: slice) -> tuple[float, torch.Tensor]:
    """The triplet term of a worker and the gradient of its features."""
    features, labels = far_negative(share)
    logits = torch.zeros(len(labels), 4)
    loss, _ = total_loss({"bn": features}, {"bn": logits}, labels, metric_loss("triplet", 0.3), 0.0, 1.0)
    loss.backward()
    return loss.item(), features.grad


def worker(rank: int, folder: Path) -> None:
    """One of the workers: it writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS)
    share = slice(rank * BATCH // WORKERS, (rank + 1) * BATCH // WORKERS)
    wrapped = DistributedDataParallel(model())
    found = {metric: gradients(wrapped, share, metric) for metric in METRICS} | {"mined": mined(share)}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
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


@pytest.mark.parametrize("metric", METRICS)
def test_two_workers_have_the_loss_and_the_gradients_of_one(workers: list[dict[str, Any]], metric: str) -> None:
    loss, expected = gradients(model(), slice(0, BATCH), metric)
    assert sum(found[metric][0] for found in workers) / WORKERS == pytest.approx(loss, rel=1e-6)
    for found in workers:
        assert found[metric][1].keys() == expected.keys()
        for name, gradient in expected.items():
            largest = gradient.abs().max().item()
            difference = (found[metric][1][name] - gradient).abs().max().item()
            assert largest > 0 and difference <= 1e-5 * max(1, largest), f"{name}: {difference} of {largest}"


def test_the_hardest_negative_is_found_on_the_other_worker(workers: list[dict[str, Any]]) -> None:
    # By hand: identity 0's images lie at distance 1 of one another and 1.1 and √(1 + 1.1²) of worker 1's nearest,
    # whose own pair is 0.3 apart and 1.1 and 1.4 from worker 0. Identities 1 and 3 have no negative near.
    expected = (max(0, 0.3 + 1 - 1.1) + max(0, 0.3 + 1 - (1 + 1.1**2) ** 0.5) + 0 + 0) / 8
    for rank, found in enumerate(workers):
        loss, gradient = found["mined"]
        assert loss == pytest.approx(expected, rel=1e-4)
        share = slice(rank * 4, rank * 4 + 4)
        _, labels = far_negative(share)
        alone, unmoved = mined(share)  # without the other worker there is nothing to learn
        assert alone == 0 and torch.equal(unmoved, torch.zeros_like(unmoved)) and len(labels) == 4
        assert gradient.abs().sum() > 0


def test_averaging_over_workers_gives_the_gradient_of_the_global_batch(workers: list[dict[str, Any]]) -> None:
    _, expected = mined(slice(0, BATCH))
    # A worker's features get W times their gradient, which the average over the workers divides again.
    found = torch.cat([gradient for _, gradient in (found["mined"] for found in workers)]) / WORKERS
    torch.testing.assert_close(found, expected)
    assert expected[0].abs().sum() > 0 and expected[4].abs().sum() > 0


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
