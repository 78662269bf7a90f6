"""What each stream does with the base map, against its parts put together by hand."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from cuhs.network.backbone import Backbone
from cuhs.network.config import GlobalStream, InstanceStream, PartStream, StripesStream
from cuhs.network.streams import Global, Instance, Part, Reduction, Stripes

THETA = torch.tensor([[1.0, 1 / 3, 0.0, -2 / 3], [0.5, 1 / 3, 0.0, 0.0]])


@pytest.fixture
def parts() -> Backbone:
    """A backbone of one small convolution: streams need no more, and its map can be worked out."""
    torch.manual_seed(0)
    rest = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    return Backbone(nn.Identity(), rest, base_width=4, width=6)


@pytest.fixture
def base() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 4, 6, 4)


def weight(reduction: Reduction) -> np.ndarray:
    return reduction.project.weight.detach().numpy()


def test_the_reduction_is_a_1x1_convolution_without_bias() -> None:
    reduction = Reduction(6, 3)
    convolution = nn.Conv2d(6, 3, 1, bias=False)
    convolution.load_state_dict({"weight": reduction.project.weight[:, :, None, None]})
    pooled = torch.rand(5, 6)
    torch.testing.assert_close(reduction(pooled), convolution(pooled[:, :, None, None])[:, :, 0, 0])
    whole = Reduction(6, None)
    assert whole.width == 6 and torch.equal(whole(pooled), pooled) and not list(whole.parameters())


@pytest.mark.parametrize(("pooling", "reduce"), [("gap", np.mean), ("gmp", np.max)])
def test_the_bn_stream_pools_and_reduces(parts: Backbone, base: torch.Tensor, pooling: str, reduce: object) -> None:
    stream = Global("bn", parts, GlobalStream(pooling=pooling), 3).eval()
    features, maps = stream(base, None)
    pooled = reduce(maps["bn"].detach().numpy(), axis=(2, 3))
    assert maps["bn"].shape == (2, 6, 6, 4)
    np.testing.assert_allclose(features["bn"].detach(), pooled @ weight(stream.reduce).T, rtol=1e-4, atol=1e-6)


def test_the_baseline_keeps_the_backbones_width(parts: Backbone, base: torch.Tensor) -> None:
    stream = Global("global", parts, GlobalStream(reduced=False), 3).eval()
    features, maps = stream(base, None)
    assert stream.widths == {"global": 6}
    np.testing.assert_allclose(features["global"].detach(), maps["global"].detach().numpy().mean((2, 3)), rtol=1e-5)


def test_the_second_in_branch_sees_its_own_map_without_the_firsts_peaks(parts: Backbone, base: torch.Tensor) -> None:
    stream = Instance("in", parts, InstanceStream(top_k=5), 3).eval()
    nn.init.normal_(stream.blocks[1][0].weight)  # copies until trained: here they differ
    features, maps = stream(base, None)
    first, second = (block(base).detach().numpy() for block in stream.blocks)
    for n in range(2):
        sums = first[n].sum(0)
        hidden = np.argsort(sums.ravel())[-5:]
        second[n].reshape(6, -1)[:, hidden] = 0
    assert list(features) == list(maps) == list(stream.widths) == ["in1", "in2"]
    np.testing.assert_allclose(maps["in1"].detach(), first, rtol=1e-6)
    np.testing.assert_allclose(maps["in2"].detach(), second, rtol=1e-6)
    for i, m in enumerate((first, second)):
        expected = m.mean((2, 3)) @ weight(stream.reduces[i]).T
        np.testing.assert_allclose(features[f"in{i + 1}"].detach(), expected, rtol=1e-4, atol=1e-6)


def test_exploring_sends_no_gradient_into_the_first_branch(parts: Backbone, base: torch.Tensor) -> None:
    stream = Instance("in", parts, InstanceStream(top_k=5), 3)
    stream(base, None)[0]["in2"].square().sum().backward()
    assert all(p.grad is None for p in stream.blocks[0].parameters())
    assert stream.blocks[1][0].weight.grad.abs().sum() > 0


def test_one_in_branch_has_the_streams_name_and_no_mask(parts: Backbone, base: torch.Tensor) -> None:
    stream = Instance("in", parts, InstanceStream(branches=1, top_k=5), 3)
    features, maps = stream(base, None)
    assert list(features) == ["in"] and stream.widths == {"in": 3}
    assert torch.equal(maps["in"], stream.blocks[0](base))


@pytest.mark.parametrize(("region", "rows"), [("upper", [0, 1]), ("middle", [2, 3]), ("lower", [4, 5])])
def test_a_fixed_part_is_its_third_of_the_rows(
    parts: Backbone, base: torch.Tensor, region: str, rows: list[int]
) -> None:
    stream = Part("part", parts, PartStream(region=region, attention=False, pooling="gap"), 3).eval()
    features, maps = stream(base, THETA)  # a localiser's box does not concern it
    expected = maps["part"].detach().numpy()[:, :, rows].mean((2, 3)) @ weight(stream.reduce).T
    np.testing.assert_allclose(features["part"].detach(), expected, rtol=1e-4, atol=1e-6)


def test_a_learned_part_is_cut_where_the_localiser_says(parts: Backbone, base: torch.Tensor) -> None:
    stream = Part("hs", parts, PartStream(attention=False, pooling="gap", size=(2, 4)), 3).eval()
    features, maps = stream(base, THETA)
    f_3 = maps["hs"].detach().numpy()
    # The second box is the middle rows, half as wide: 4 samples at columns 0.75, 1.25, 1.75, 2.25 (from 0).
    share = np.array([[0.25, 0.75, 0, 0], [0, 0.75, 0.25, 0], [0, 0.25, 0.75, 0], [0, 0, 0.75, 0.25]]).mean(0)
    pooled = np.stack([f_3[0, :, :2].mean((1, 2)), (f_3[1, :, 2:4] * share).sum(2).mean(1)])
    np.testing.assert_allclose(features["hs"].detach(), pooled @ weight(stream.reduce).T, rtol=1e-4, atol=1e-5)


def test_without_a_size_the_crop_is_a_third_of_the_map_by_its_width(parts: Backbone, base: torch.Tensor) -> None:
    stream = Part("hs", parts, PartStream(), 3)
    sizes = []
    stream.attention.register_forward_hook(lambda _module, inputs, _output: sizes.append(inputs[0].shape[2:]))
    stream(base, THETA)
    stream(base[:, :, :5], THETA)
    assert sizes == [(2, 4), (2, 4)]


def test_the_part_stream_attends_before_it_pools(parts: Backbone, base: torch.Tensor) -> None:
    stream = Part("hs", parts, PartStream(region="upper"), 3).eval()
    features, maps = stream(base, None)
    han = stream.attention
    x = maps["hs"][:, :, :2].detach().numpy()
    squeezed = np.maximum(x.mean((2, 3)) @ han.reduce.weight.detach().numpy().T, 0)
    gate = 1 / (1 + np.exp(-squeezed @ han.increase.weight.detach().numpy().T))
    f_c = x * (1 + gate[:, :, None, None])
    attended = f_c / (1 + np.exp(-f_c.sum(1, keepdims=True)))
    pooled = (np.maximum(attended, 1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    np.testing.assert_allclose(features["hs"].detach(), pooled @ weight(stream.reduce).T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("count", "bounds"), [(3, [(0, 2), (2, 4), (4, 6)]), (4, [(0, 2), (1, 3), (3, 5), (4, 6)])])
def test_stripes_are_those_of_adaptive_pooling(
    parts: Backbone, base: torch.Tensor, count: int, bounds: list[tuple[int, int]]
) -> None:
    stream = Stripes("body", parts, StripesStream(parts=count, whole=True), 3).eval()
    features, maps = stream(base, None)
    whole = maps["body"].detach()
    assert [*features] == [*maps] == [*stream.widths] == ["body", *(f"body{i + 1}" for i in range(count))]
    pooled = torch.nn.functional.adaptive_avg_pool2d(whole, (count, 1))[..., 0]
    for i, (start, end) in enumerate(bounds):
        name = f"body{i + 1}"
        torch.testing.assert_close(whole[:, :, start:end].mean((2, 3)), pooled[:, :, i])
        expected = pooled[:, :, i].numpy() @ weight(stream.reduces[name]).T
        np.testing.assert_allclose(features[name].detach(), expected, rtol=1e-4, atol=1e-6)
    assert stream.unmined == {f"body{i + 1}" for i in range(count)}


@pytest.mark.parametrize(("top_k", "hidden"), [(0, 0), (5, 5), (0.0, 0), (0.2, 5), (0.01, 1), (0.99, 24)])
def test_peaks_are_a_number_of_cells_or_a_share_of_the_map(top_k: float, hidden: int) -> None:
    assert InstanceStream(top_k=top_k).peaks(24) == hidden


@pytest.mark.parametrize("top_k", [1.0, 5.0, -0.1])
def test_a_share_of_one_and_more_is_refused(top_k: float) -> None:
    with pytest.raises(ValidationError, match=r"share of the map is below 1|greater than or equal to 0"):
        InstanceStream(top_k=top_k)


def test_a_share_hides_that_part_of_the_first_map(parts: Backbone, base: torch.Tensor) -> None:
    _, maps = Instance("in", parts, InstanceStream(top_k=0.25), 3).eval()(base, None)
    assert ((maps["in2"] == 0).all(1).sum((1, 2)) >= 6).all()
