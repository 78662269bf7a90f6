"""Training steps that the benchmarks time, and the fastest matrix product of a device, which no step can beat."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cuhs.losses import metric_loss, total_loss
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.config import Schedule
from cuhs.training.reid import Classified
from cuhs.training.schedule import adam

BASELINE = {"global": {"kind": "global", "reduced": False}}
STREAMS = {"bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 5}, "head_shoulder": {"kind": "part"}}
# Rows and columns of the matrices whose product is timed, and how often.
PRODUCT, PRODUCTS = {"cpu": 2048, "cuda": 8192}, 10


def baseline(backbone: str, identities: int) -> Classified:
    """A network of one stream, its feature as wide as the backbone's, with its classifier; random weights."""
    return Classified(CUHS(_config(backbone, BASELINE)), identities)


def network() -> CUHS:
    """CUHS over MobileNetV2 with its three streams and four branches, 128 channels each; random weights."""
    config = _config("mobilenet_v2", STREAMS)
    return CUHS(config, make_hsl(config))


def step_of(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Move a model to the images' device; returns its training step, in bfloat16 if that is a GPU.

    Args:
        model: a :class:`~cuhs.training.reid.Classified`.
        images: (n, 3, H, W), or whatever the model maps to features and logits.
        labels: (n,) int64.
    """
    model.train().to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
    optimizer, metric = adam(model, Schedule(epochs=1)), metric_loss("triplet", 0.3)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            features, logits = model(batch)
        loss, _ = total_loss(features, logits, labels, metric, 1.0, 1.0, 0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def product_flops(device: torch.device) -> float:
    """FLOP/s of the fastest of some matrix products, in the precision of :func:`step_of`."""
    size = PRODUCT[device.type]
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
    times = []
    for _ in range(PRODUCTS + 1):  # the first time, kernels are chosen
        _wait(device)
        began = time.perf_counter()
        left @ right
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[1:])


def _config(backbone: str, streams: dict[str, dict[str, object]]) -> NetworkConfig:
    values = {"backbone": backbone, "weights": "none", "channels": 128, "streams": streams}
    return NetworkConfig.model_validate(values)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
