"""Folded networks compute the same features with fewer layers."""

import pytest
import torch
from torch import nn

from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.network.folding import folded

STREAMS = {"bn": {"kind": "global"}, "in": {"kind": "instance", "top_k": 2}, "head_shoulder": {"kind": "part"}}


def used(network: nn.Module) -> nn.Module:
    """The network with statistics and scales that are not those of a new one."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet50"])
def test_features_are_the_same_and_no_normalisation_follows_a_convolution(backbone: str) -> None:
    values = {"backbone": backbone, "weights": "none", "channels": 8, "neck": "batchnorm", "streams": STREAMS}
    config = NetworkConfig.model_validate(values)
    network = used(CUHS(config, make_hsl(config))).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    lighter = folded(network)
    with torch.inference_mode():
        # Maps of eight cells: instance normalisation makes much of the rounding before it.
        torch.testing.assert_close(lighter.embed(images), network.embed(images), rtol=1e-2, atol=2e-3)
        exact = folded(network.streams[0].double()), network.streams[0]
        base = torch.randn(3, network.base(images).shape[1], 4, 2, dtype=torch.float64)
        here, there = (stream(base, None)[0]["bn"] for stream in exact)
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
    network.float()
    left = [name for name, module in lighter.named_modules() if isinstance(module, nn.BatchNorm2d)]
    # Behind a linear layer or an instance normalisation there is nothing to fold into.
    assert len(left) < 8, left
    # The network itself stays as it was, and could be trained on.
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
