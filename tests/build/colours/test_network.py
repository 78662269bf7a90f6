from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cuhs.build.colours.network import (
    BRIGHT,
    DARK,
    FITTED,
    HEIGHT,
    WIDTH,
    TorsoNetwork,
    cut_out,
    fitted,
    levelled,
    one_thread,
    probabilities,
)
from cuhs.errors import CuhsError


def test_a_torso_is_cut_out_from_under_the_chin_to_the_hips() -> None:
    pixels = np.full((100, 40, 3), 40, dtype=np.uint8)
    pixels[30:60] = 80
    cut = cut_out(pixels, (0.1, 0.0, 0.9, 0.3))
    assert cut.shape == (HEIGHT, WIDTH, 3) and cut.dtype == np.uint8
    # From 13.5 to 64.5 pixels: 30 rows of shirt between others.
    assert abs(int((cut[:, 32, 0] > 60).sum()) - HEIGHT * 30 / 51) <= 2
    assert cut_out(pixels[:1, :1], None).shape == (HEIGHT, WIDTH, 3)


def test_a_cameras_exposure_and_cast_are_taken_out() -> None:
    light = np.random.default_rng(0).integers(30, 220, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
    gain = np.array([0.5, 0.7, 0.6])
    exposure = np.broadcast_to([[40.0] * 3, [200.0] * 3], (5, 2, 3))
    seen = levelled(light, exposure)
    assert seen.shape == (5, 3, HEIGHT, WIDTH) and seen.dtype == torch.uint8
    darker = levelled((light * gain).astype(np.uint8), exposure * gain)
    assert (seen.int() - darker.int()).abs().max() <= 3
    black, white = (levelled(np.full_like(light, value), exposure) for value in (40, 200))
    assert (black == DARK).all() and (white == BRIGHT).all()


def test_a_camera_that_sees_one_shade_divides_by_nothing() -> None:
    fog = np.full((2, HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    assert (levelled(fog, np.full((2, 2, 3), 90.0)) == DARK).all()


def test_a_torso_and_its_mirror_image_are_the_same_to_it() -> None:
    torsos = torch.randint(0, 256, (3, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    seen = probabilities(fitted(), torsos)
    assert seen.shape == (3, 3) and seen.dtype == np.float32
    np.testing.assert_allclose(seen.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities(fitted(), torsos.flip(3)), seen, atol=1e-5)


def test_its_file_holds_every_tensor_in_half_precision(tmp_path: Path) -> None:
    assert FITTED.stat().st_size < 1_200_000
    torch.manual_seed(0)
    network = TorsoNetwork()
    for value in network.state_dict().values():
        value.copy_(torch.randn(value.shape) * 100)
    network.save(tmp_path / "n.safetensors")
    again = TorsoNetwork.load(tmp_path / "n.safetensors")
    assert not again.training
    for name, value in again.state_dict().items():
        kept = network.state_dict()[name]
        assert torch.equal(value, kept.half().float() if kept.is_floating_point() else kept), name


def test_one_thread_is_given_back() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_a_file_that_is_no_torso_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    with pytest.raises(CuhsError, match=r"n\.safetensors: no such torso network"):
        TorsoNetwork.load(path)
    path.write_bytes(b"")
    with pytest.raises(CuhsError, match=r"n\.safetensors: not a torso network \(.*\); fit it again") as caught:
        TorsoNetwork.load(path)
    assert "\n" not in str(caught.value)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(CuhsError, match=r"n\.safetensors: not a torso network"):
        TorsoNetwork.load(path)
