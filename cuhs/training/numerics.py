"""How a training computes: the precision, and whether a GPU must give the same bits each time."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch.backends import cudnn
from torch.utils import deterministic

# Where cuBLAS keeps intermediate sums; with the other values it may add them in any order. It reads the variable when
# it starts. See the reproducibility section of cuBLAS's documentation.
VARIABLE, WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
FILL = "fill_uninitialized_memory"


@dataclass(frozen=True)
class Numerics:
    """The precision of a training on a GPU, and whether it is deterministic there.

    Attributes:
        precision: ``float32`` is float32 everywhere. ``tf32`` lets convolutions round their inputs to TF32, with 10
            bits of mantissa; products of matrices, which distances and statistics come from, stay in float32.
            ``bfloat16`` is autocast's; all that autocast leaves in float32 is float32. A CPU has no TF32.
        deterministic: whether only algorithms are used that always add in the same order.
    """

    precision: str = "float32"
    deterministic: bool = False

    def on(self, device: torch.device) -> str:
        """Say in a few words how a device computes."""
        precision = "float32" if self.precision == "tf32" and device.type == "cpu" else self.precision
        return precision + ", deterministic" * self.deterministic

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Compute so while the block runs; the process's settings are as before afterwards.

        If it is deterministic, the block must begin before the process's first matrix product on a GPU, and an
        operation that has no deterministic algorithm raises a RuntimeError that names it.
        """
        tf32 = self.precision == "tf32"
        with ExitStack() as before:
            # PyTorch lets convolutions use TF32 unless it is told otherwise, and matrix products not.
            before.enter_context(
                cudnn.flags(enabled=cudnn.enabled, deterministic=self.deterministic, allow_tf32=tf32)
            )
            if self.deterministic:
                _be_deterministic(before)
            yield


def _be_deterministic(before: ExitStack) -> None:
    """Switch PyTorch and cuBLAS, and note how to switch back."""
    before.callback(
        torch.use_deterministic_algorithms,
        torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    before.callback(setattr, deterministic, FILL, getattr(deterministic, FILL))
    torch.use_deterministic_algorithms(True)
    # This would find reads of memory that nobody wrote, at the price of writing to all of it.
    setattr(deterministic, FILL, False)
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = WORKSPACE
        before.callback(os.environ.pop, VARIABLE, None)
