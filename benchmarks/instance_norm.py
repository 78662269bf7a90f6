"""``python -m benchmarks.instance_norm``: instance normalisation against PyTorch's layers, forward and backward.

The maps have the shapes of the IN blocks, channels-last, in a batch of 64. Batch normalisation does the same
arithmetic over another axis, so its time is the limit. The last line is JSON: time over batch normalisation's.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cuhs.network.normalisation import InstanceNorm

SHAPES = ((384, 10, 4), (576, 10, 4), (960, 10, 4), (1024, 24, 8))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instance_norm", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ratios: dict[str, dict[str, float]] = {}
    for channels, height, width in SHAPES:
        layers: dict[str, nn.Module] = {
            "batch": nn.BatchNorm2d(channels),
            "ours": InstanceNorm(channels),
            "instance": nn.InstanceNorm2d(channels, affine=True),
            "group": nn.GroupNorm(channels, channels),
        }
        times = measured(layers, channels, height, width, arguments.repeats)
        shape = f"{channels}x{height}x{width}"
        ratios[shape] = {name: round(value / times["batch"], 2) for name, value in times.items()}
        print(f"64x{shape}: " + "  ".join(f"{name} {1e3 * value:.1f} ms" for name, value in times.items()))
    print(json.dumps(ratios))


def measured(layers: dict[str, nn.Module], channels: int, height: int, width: int, repeats: int) -> dict[str, float]:
    """The shortest of ``repeats`` interleaved runs of each layer, in seconds."""
    x, gradient = (
        torch.randn(64, channels, height, width).contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    x.requires_grad_()
    best = dict.fromkeys(layers, float("inf"))
    for _ in range(repeats):
        for name, layer in layers.items():
            best[name] = min(best[name], timed(layer, x, gradient))
    return best


def timed(layer: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> float:
    x.grad = None
    started = time.perf_counter()
    layer(x).backward(gradient)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
