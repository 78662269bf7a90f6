"""FLOPs by hand, nothing disturbed by counting, and utilisation as a share of the card's peak."""

import copy

import pytest
import torch
from torch import nn

from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training import flops
from cuhs.training.flops import PEAKS, Utilisation, peak_flops, training_flops
from cuhs.training.reid import Classified

CPU = torch.device("cpu")


class Small(nn.Module):
    """A frozen convolution, a depthwise one and a matrix: all kinds of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 6, 3, padding=1, bias=False).requires_grad_(False)
        self.depthwise = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False)
        self.full = nn.Conv2d(6, 4, 1, bias=False)
        self.linear = nn.Linear(4, 5, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.full(self.depthwise(self.frozen(images))).mean((2, 3)))


def test_operations_are_those_counted_by_hand() -> None:
    frozen = 2 * 8 * 6 * 3 * 6 * 9  # nothing goes back to it
    depthwise = 2 * 4 * 3 * 6 * 9  # forward, and back to its weights alone
    full = 2 * 4 * 3 * 6 * 4  # forward, and back to its weights and its input
    linear = 2 * 4 * 5
    assert training_flops(Small(), 8, 6) == frozen + 2 * depthwise + 3 * full + 3 * linear


def test_counting_changes_neither_the_model_nor_random_numbers(tiny_config: NetworkConfig) -> None:
    model = Classified(CUHS(tiny_config, make_hsl(tiny_config)), 5).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert training_flops(model, 64, 32) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(type(value) is nn.Parameter for value in model.parameters())


def test_utilisation_is_the_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "device_name", lambda device: "NVIDIA L4")
    model = Small()
    metrics = Utilisation(model, 8, 6, CPU, "bfloat16").metrics(1e6)
    assert metrics == {"mfu": pytest.approx(training_flops(model, 8, 6) * 1e6 / 121e12)}


@pytest.mark.parametrize(
    ("name", "precision"),
    [("CPU", "float32"), ("Tesla T4", "bfloat16"), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "tf32")],
)
def test_without_a_known_peak_there_is_no_utilisation(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flops, "device_name", lambda device: name)
    monkeypatch.setattr(flops, "training_flops", lambda *_: pytest.fail("counted for nothing"))
    used = Utilisation(Small(), 8, 6, CPU, precision)
    used.begin()
    assert peak_flops(CPU, precision) is None and used.metrics(100.0) == {}


def test_peaks_grow_as_precision_falls() -> None:
    for name, peaks in PEAKS.items():
        values = [peaks[precision] for precision in ("float32", "tf32", "bfloat16") if precision in peaks]
        assert values == sorted(values) and values[0] > 1, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_most_memory_of_an_epoch_is_measured_on_a_gpu() -> None:
    device = torch.device("cuda")
    used = Utilisation(Small(), 8, 6, device, "float32")
    used.begin()
    torch.zeros(2**22, device=device)
    first = used.metrics(1.0)["gpu_memory_mib"]
    used.begin()
    assert first >= 16 > used.metrics(1.0)["gpu_memory_mib"] - first + 16
