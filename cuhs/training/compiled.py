"""Compiles a network, so that its forward and backward pass run as fewer, fused operations."""

import torch
from torch import Tensor, nn

from cuhs.errors import CuhsError, cut


def compile_in_place(model: nn.Module, device: torch.device) -> None:
    """Let a model be compiled at its first call; its parameters keep their names, so checkpoints stay the same.

    All batches must have one shape, or it is compiled anew for each. Results differ from the model's own by rounding.

    Args:
        model: the model, not wrapped for distributed training: gradients are exchanged after its whole backward pass.
        device: what it will be trained on.

    Raises:
        CuhsError: PyTorch cannot compile here, most likely because there is no C++ compiler.
    """
    try:
        torch.compile(_doubled)(torch.ones(8, device=device))
    except Exception as error:  # PyTorch's compilers raise many types, also for a compiler that is not installed
        why = cut(next(iter(str(error).splitlines()), type(error).__name__))
        raise CuhsError(
            f"train.compile: PyTorch cannot compile on this machine ({why}); install a C++ compiler and Python's "
            "headers, or set it to false"
        ) from error
    model.compile(dynamic=False)


def _doubled(x: Tensor) -> Tensor:
    return 2 * x
