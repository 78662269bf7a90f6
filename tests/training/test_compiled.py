"""A compiled network is the same network: one graph, the same losses and gradients, the same names."""

import copy

import pytest
import torch
from torch import Tensor

from cuhs.errors import CuhsError
from cuhs.losses import metric_loss, total_loss
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.compiled import compile_in_place
from cuhs.training.reid import Classified
from tests import variants

CPU = torch.device("cpu")
TRIPLET = metric_loss("triplet", 0.3)


@pytest.fixture(autouse=True)
def anew() -> None:
    torch.compiler.reset()


def made(variant: str) -> Classified:
    torch.manual_seed(0)
    config = variants.network(variant, "resnet18")
    return Classified(CUHS(config, make_hsl(config) if config.learned_stream else None), 3).train()


def loss(model: Classified, precision: str = "float32") -> Tensor:
    images = torch.linspace(-2, 2, 4 * 3 * 64 * 32).sin().view(4, 3, 64, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        features, logits = model(images)
    return total_loss(features, logits, torch.tensor([0, 0, 1, 1]), TRIPLET, 1.0, 1.0, 0.1)[0]


# Two of them have all kinds of streams.
SOME = ("cuhs", "peer/mgn")


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=() if name in SOME else pytest.mark.long) for name in variants.NAMES]
)
def test_a_variant_and_its_losses_are_one_graph(variant: str) -> None:
    found = torch.compile(loss, backend="eager", fullgraph=True)(made(variant))
    torch.testing.assert_close(found, loss(made(variant)))


@pytest.mark.long
def test_so_they_are_under_bfloat16() -> None:
    found = torch.compile(loss, backend="eager", fullgraph=True)(made("cuhs"), "bfloat16")
    torch.testing.assert_close(found, loss(made("cuhs"), "bfloat16"))


@pytest.mark.long
def test_gradients_statistics_and_names_are_those_of_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("cuhs")
    twin = copy.deepcopy(model)
    # Traced and differentiated as by the real compiler, which would take a minute.
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    compiled = []
    monkeypatch.setattr(model, "compile", lambda **options: compiled.append(options))
    compile_in_place(model, CPU)
    assert compiled == [{"dynamic": False}]
    monkeypatch.undo()
    model.compile(backend="aot_eager", **compiled[0])
    for each in (model, twin):
        loss(each).backward()
    assert [*model.state_dict()] == [*twin.state_dict()]
    for (name, a), b in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_machine_without_a_compiler_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(function: object, **options: object) -> object:
        def fail(*_: object) -> None:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for …")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(CuhsError) as error:
        compile_in_place(torch.nn.Linear(2, 2), CPU)
    assert str(error.value) == (
        "train.compile: PyTorch cannot compile on this machine (InvalidCxxCompiler: No working C++ compiler found); "
        "install a C++ compiler and Python's headers, or set it to false"
    )
