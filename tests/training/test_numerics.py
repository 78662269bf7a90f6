"""Precision and determinism hold for a training and no longer; no variant has an operation that would break them."""

import os
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cuhs.losses import hsl_loss, metric_loss, total_loss
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.config import ReIDTraining
from cuhs.training.numerics import Numerics
from cuhs.training.reid import Classified
from tests import variants

# What the documentation of torch.use_deterministic_algorithms names, as far as a network of images could use it.
REFUSED = {
    "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d_backward",
    "bincount",
    "cumsum",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "median",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad2d_backward",
    "replication_pad2d_backward",
    "scatter_reduce",
    "upsample_bilinear2d_backward",
}


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def settings() -> tuple[Any, ...]:
    cudnn, deterministic = torch.backends.cudnn, torch.utils.deterministic
    return (
        *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_all_is_as_before_after_a_training(
    precision: str, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = settings()
    with pytest.raises(KeyboardInterrupt), Numerics(precision, deterministic).applied():
        tf32 = precision == "tf32"
        workspace = ":4096:8" if deterministic else None
        assert settings() == (before[0], False, deterministic, tf32, False, deterministic, False, *settings()[7:])
        assert torch.utils.deterministic.fill_uninitialized_memory is not deterministic
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == workspace
        raise KeyboardInterrupt
    assert settings() == before


def test_a_workspace_that_somebody_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with Numerics(deterministic=True).applied():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_what_is_said_is_what_the_device_does() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert Numerics("tf32", True).on(gpu) == "tf32, deterministic"
    assert Numerics("tf32").on(cpu) == "float32"
    assert Numerics("bfloat16").on(cpu) == "bfloat16"


def step(model: nn.Module, device: torch.device) -> list[torch.Tensor]:
    """The gradients of a training step on noise."""
    images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.tensor([0, 0, 1, 1], device=device)
    if isinstance(model, Classified):
        features, logits = model(images)
        loss, _ = total_loss(features, logits, labels, metric_loss("triplet", 0.3), 1.0, 1.0, 0.1)
    else:
        loss = hsl_loss(model(images), torch.rand(4, 4, generator=torch.Generator().manual_seed(1)).to(device))
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def made(variant: str, backbone: str) -> nn.Module:
    torch.manual_seed(0)
    config = variants.network(variant, backbone)
    return Classified(CUHS(config, make_hsl(config) if config.learned_stream else None), 3).train()


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("variant", [*variants.NAMES, "localiser"])
def test_no_training_has_an_operation_without_a_deterministic_algorithm(variant: str, backbone: str) -> None:
    model = (
        make_hsl(variants.network("cuhs", backbone)).train() if variant == "localiser" else made(variant, backbone)
    )
    with Operations() as used:
        step(model, torch.device("cpu"))
    assert "convolution_backward" in used.names
    assert used.names & REFUSED == set()


@pytest.mark.parametrize("metric", get_args(ReIDTraining.model_fields["metric_loss"].annotation))
def test_no_metric_loss_has_one(metric: str) -> None:
    features = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with Operations() as used:
        metric_loss(metric, 0.3)(features, torch.arange(8) // 2).backward()
    assert features.grad is not None and len(used.names) > 5
    assert used.names & REFUSED == set()


def test_such_an_operation_would_be_found() -> None:
    with Operations() as used:
        nn.AdaptiveAvgPool2d((2, 2))(torch.rand(1, 1, 4, 4, requires_grad=True)).sum().backward()
    assert used.names & REFUSED == {"_adaptive_avg_pool2d_backward"}


def test_on_a_cpu_a_deterministic_step_is_the_step_without_the_switch() -> None:
    model = made("cuhs", "mobilenet_v2")
    expected = step(model, torch.device("cpu"))
    with Numerics(deterministic=True).applied():
        found = step(made("cuhs", "mobilenet_v2"), torch.device("cpu"))
    assert len(found) == len(expected) > 100
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("variant", [*variants.NAMES, "localiser"])
def test_on_a_gpu_deterministic_steps_are_the_same_to_the_bit(variant: str) -> None:
    device = torch.device("cuda")
    model = make_hsl(variants.network("cuhs", "resnet18")) if variant == "localiser" else made(variant, "resnet18")
    model.to(device).train()
    with Numerics(deterministic=True).applied():
        first, second = step(model, device), step(model, device)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
