"""Where each branch looks, and what exploration hides."""

import torch

from cuhs.explain import attention_maps, hidden_cells
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS


def test_every_branch_has_a_map_of_each_image(tiny_network: CUHS) -> None:
    torch.manual_seed(0)
    heats = attention_maps(tiny_network, torch.randn(3, 3, 64, 32))
    assert list(heats) == list(tiny_network.widths)
    for heat in heats.values():
        assert heat.shape == (3, 4, 2)
        assert (heat >= 0).all()
        assert not heat.requires_grad
        # No image's map is grey all over.
        assert (heat.amax((1, 2)) > 0).all()
    assert not tiny_network.training
    assert all(p.grad is None for p in tiny_network.parameters())


def test_behind_average_pooling_the_cells_add_up_to_the_length_of_the_feature(tiny_config: NetworkConfig) -> None:
    torch.manual_seed(0)
    config = tiny_config.model_copy(update={"streams": {"bn": tiny_config.streams["bn"]}, "neck": "none"})
    model = CUHS(config).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        features, maps = model.features_and_maps(images)
        stream = model.streams[0]
        # The reduction is linear, so each cell's part of the feature is its reduction over the number of cells.
        parts = torch.einsum("nchw,dc->ndhw", maps["bn"], stream.reduce.project.weight) / maps["bn"][0, 0].numel()
        unit = features["bn"] / features["bn"].norm(dim=1, keepdim=True)
        along = torch.einsum("ndhw,nd->nhw", parts, unit)
    torch.testing.assert_close(along.sum((1, 2)), features["bn"].norm(dim=1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(attention_maps(model, images)["bn"], along.relu(), atol=1e-6, rtol=1e-4)


def test_a_neck_s_shift_is_shared_out_so_that_no_map_is_grey(tiny_config: NetworkConfig) -> None:
    torch.manual_seed(0)
    streams = {"bn": tiny_config.streams["bn"]}
    model = CUHS(tiny_config.model_copy(update={"streams": streams, "neck": "batchnorm"})).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        # The features are far below the mean: what is long about them is what they lack.
        model.necks["bn"].running_mean.copy_(model(images)["bn"].amax(0) + 1)
        features, maps = model.features_and_maps(images)
        necked = model.classified(features)["bn"]
        scale = model.necks["bn"].weight / (model.necks["bn"].running_var + 1e-5).sqrt()
        cells = torch.einsum("nchw,dc->ndhw", maps["bn"], model.streams[0].reduce.project.weight)
        parts = (cells - model.necks["bn"].running_mean[:, None, None]) * scale[:, None, None] / 8
        along = torch.einsum("ndhw,nd->nhw", parts, necked / necked.norm(dim=1, keepdim=True))
    heat = attention_maps(model, images)["bn"]
    torch.testing.assert_close(heat, along.relu(), atol=1e-5, rtol=1e-3)
    assert (heat.amax((1, 2)) > 0).all()


def test_a_map_of_an_image_does_not_depend_on_the_others(tiny_network: CUHS) -> None:
    images = torch.randn(3, 3, 64, 32)
    alone = attention_maps(tiny_network, images[1:2])
    for name, heat in attention_maps(tiny_network, images).items():
        torch.testing.assert_close(heat[1:2], alone[name], atol=1e-4, rtol=1e-3)


def test_a_stripe_looks_at_itself_alone(tiny_config: NetworkConfig) -> None:
    streams = {"body": {"kind": "stripes", "parts": 2, "whole": True}}
    model = CUHS(NetworkConfig.model_validate(tiny_config.model_dump() | {"streams": streams}))
    heats = attention_maps(model, torch.randn(2, 3, 64, 32))
    assert (heats["body1"][:, 2:] == 0).all()
    assert (heats["body2"][:, :2] == 0).all()


def test_the_hidden_cells_are_the_first_branch_s_peaks(tiny_network: CUHS) -> None:
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        _, maps = tiny_network.eval().features_and_maps(images)
    hidden = hidden_cells(tiny_network, images)
    assert list(hidden) == ["in2"]
    sums = maps["in1"].sum(1).flatten(1)
    peaks = torch.zeros_like(sums, dtype=torch.bool).scatter(1, sums.topk(2, dim=1).indices, True)
    assert torch.equal(hidden["in2"].flatten(1), peaks)
