"""Which cells make two images alike."""

import torch
import torch.nn.functional as F

from cuhs.explain import similarity_maps
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS


def test_every_branch_has_a_map_of_each_image(tiny_network: CUHS) -> None:
    torch.manual_seed(0)
    heats = similarity_maps(tiny_network, torch.randn(3, 64, 32), torch.randn(3, 64, 32))
    assert list(heats) == list(tiny_network.widths)
    for pair in heats.values():
        for heat in pair:
            assert heat.shape == (4, 2) and (heat >= 0).all() and not heat.requires_grad
    assert any(heat.sum() > 0 for pair in heats.values() for heat in pair)
    assert not tiny_network.training and all(p.grad is None for p in tiny_network.parameters())


def test_behind_average_pooling_the_shares_add_up_to_what_the_gradient_says(tiny_config: NetworkConfig) -> None:
    """For a feature f linear in the map, gradient times activation summed over the cells is f · ∂s/∂f."""
    torch.manual_seed(0)
    config = tiny_config.model_copy(update={"streams": {"bn": tiny_config.streams["bn"]}, "neck": "none"})
    model = CUHS(config).eval()
    images = torch.randn(2, 3, 64, 32)
    features, maps = model.features_and_maps(images)
    f = features["bn"]
    similarity = F.cosine_similarity(f[:1], f[1:]).sum()
    to_feature, to_map = torch.autograd.grad(similarity, [f, maps["bn"]])
    whole = (maps["bn"] * to_map).sum((1, 2, 3))
    torch.testing.assert_close(whole, (f * to_feature).sum(1), atol=1e-5, rtol=1e-4)
    first, second = similarity_maps(model, *images)["bn"]
    cells = (maps["bn"] * to_map).sum(1).relu()
    torch.testing.assert_close(torch.stack([first, second]), cells.detach())
