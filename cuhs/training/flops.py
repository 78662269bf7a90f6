"""Floating-point operations of a training, and how far it uses its device."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

MIB = 1024 * 1024
# Peaks in TFLOP/s without sparsity, by the name that CUDA gives a whole card. From NVIDIA's data sheets "A100 Tensor
# Core GPU", "A10 Tensor Core GPU", "H100 Tensor Core GPU", "H200 Tensor Core GPU", "HGX B200", "L4 Tensor Core GPU",
# "L40S GPU", "T4" and "V100", and from the white papers of GA102 and AD102 (tensor cores that accumulate in float32).
# Figures with sparsity count half. T4 and V100 have neither TF32 nor bfloat16.
_A100 = {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0}
_H100 = {"float32": 67.0, "tf32": 494.5, "bfloat16": 989.5}
_H100_NVL = {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5}
PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA A10": {"float32": 31.2, "tf32": 62.5, "bfloat16": 125.0},
    "NVIDIA A100-PCIE-40GB": _A100,
    "NVIDIA A100-SXM4-40GB": _A100,
    "NVIDIA A100 80GB PCIe": _A100,
    "NVIDIA A100-SXM4-80GB": _A100,
    "NVIDIA H100 PCIe": {"float32": 51.0, "tf32": 378.0, "bfloat16": 756.5},
    "NVIDIA H100 80GB HBM3": _H100,
    "NVIDIA H100 NVL": _H100_NVL,
    "NVIDIA H200": _H100,
    "NVIDIA H200 NVL": _H100_NVL,
    "NVIDIA B200": {"float32": 75.0, "tf32": 1125.0, "bfloat16": 2250.0},
    "NVIDIA L4": {"float32": 30.3, "tf32": 60.0, "bfloat16": 121.0},
    "NVIDIA L40S": {"float32": 91.6, "tf32": 183.0, "bfloat16": 362.0},
    "Tesla T4": {"float32": 8.1},
    "Tesla V100-PCIE-16GB": {"float32": 14.0},
    "Tesla V100-PCIE-32GB": {"float32": 14.0},
    "Tesla V100-SXM2-16GB": {"float32": 15.7},
    "Tesla V100-SXM2-32GB": {"float32": 15.7},
    "NVIDIA GeForce RTX 3090": {"float32": 35.6, "tf32": 35.6, "bfloat16": 71.0},
    "NVIDIA GeForce RTX 4090": {"float32": 82.6, "tf32": 82.6, "bfloat16": 165.2},
}


def training_flops(model: nn.Module, height: int, width: int) -> float:
    """Count the floating-point operations of training on one image: forward, and backward to all trained weights.

    A multiplication with its addition counts as two. Only convolutions and matrix products count, as is usual for the
    model FLOPs utilisation. Nothing is computed: weights, statistics and random numbers stay as they are.

    Args:
        model: maps images (N, 3, height, width) to tensors; not wrapped for distributed training.
        height, width: size of an image in pixels.
    """
    images = 2  # normalisation of a single one would fail
    device = next(model.parameters()).device
    fake = FakeTensorMode()
    real = model.state_dict(keep_vars=True)
    state: dict[str, Tensor] = {name: fake.from_tensor(value) for name, value in real.items()}
    formulas = {torch.ops.aten.convolution_backward: _convolution_backward}
    with fake, FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        found = functional_call(model, state, torch.empty(images, 3, height, width, device=device))
        torch.stack([value.sum() for value in cast(list[Tensor], tree_leaves(found))]).sum().backward()
    return counter.get_total_flops() / images


def _convolution_backward(
    grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *others: Any, **_: Any
) -> int:
    """FLOPs from shapes: each gradient, to the input and to the weight, costs what the convolution itself cost.

    PyTorch's own formula forgets the groups of depthwise convolutions in the gradient to the weight.
    """
    to_input, to_weight, _to_bias = others[-1]
    return (to_input + to_weight) * conv_flop_count([*x], [*weight], [*grad])


def device_name(device: torch.device) -> str:
    """The name of a GPU as CUDA gives it, or ``CPU``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def peak_flops(device: torch.device, precision: str) -> float | None:
    """The most FLOP/s that a device can do in a precision, by :data:`PEAKS`; none if that is not known."""
    tera = PEAKS.get(device_name(device), {}).get(precision)
    return tera and tera * 1e12


class Utilisation:
    """How far a training uses its device.

    Args:
        model: the model, not wrapped for distributed training.
        height, width: size of an image in pixels.
        device: what is trained on.
        precision: ``float32``, ``tf32`` or ``bfloat16``.
    """

    def __init__(self, model: nn.Module, height: int, width: int, device: torch.device, precision: str) -> None:
        self._device, self._peak = device, peak_flops(device, precision)
        # Counting takes seconds.
        self._flops = training_flops(model, height, width) if self._peak else 0.0

    def begin(self) -> None:
        """Begin an epoch."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def metrics(self, images_per_second: float) -> dict[str, float]:
        """Measure an epoch at its end.

        Args:
            images_per_second: images that this device was trained on, a second, waiting included.

        Returns:
            ``mfu``, the model FLOPs utilisation in [0, 1], if the peak is known, and on a GPU ``gpu_memory_mib``, the
            most memory that tensors held at a time.
        """
        found = {"mfu": self._flops * images_per_second / self._peak} if self._peak else {}
        if self._device.type == "cuda":
            found["gpu_memory_mib"] = torch.cuda.max_memory_allocated(self._device) / MIB
        return found
