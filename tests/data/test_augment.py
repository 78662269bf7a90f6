"""Augmentation: seeded, and the box goes where the pixels go."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cuhs.data.augment import Augmentation, decode, normalise

H, W = 96, 48
NO_BOX = np.full(4, np.nan, np.float32)
OFF = {"flip": 0.0, "pad": 0, "jitter": 0.0, "erasing": 0.0}


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """By hand: 0 to 1, then ImageNet's mean and standard deviation per channel."""
    channels = [
        (pixels[:, :, c] / 255 - m) / s for c, (m, s) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)))
    ]
    return np.stack(channels)


def with_rectangle(x1: int, y1: int, x2: int, y2: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with a white rectangle, and the rectangle as a box."""
    pixels = np.full((H, W, 3), 60, np.uint8)
    pixels[y1:y2, x1:x2] = 255
    return pixels, np.array([x1 / W, y1 / H, x2 / W, y2 / H], np.float32)


def found_again(image: torch.Tensor) -> list[float]:
    """The bright rectangle's box in an input."""
    rows, columns = np.nonzero(image[1].numpy() > 1)
    return [columns.min() / W, rows.min() / H, (columns.max() + 1) / W, (rows.max() + 1) / H]


def test_everything_off_is_normalisation(pixels: np.ndarray) -> None:
    box = np.array([0.1, 0.2, 0.7, 0.5], np.float32)
    image, same = Augmentation(**OFF)(pixels, box, seed=3)
    assert image.dtype == same.dtype == torch.float32 and image.shape == (3, H, W)
    np.testing.assert_allclose(image, normalised(pixels), rtol=1e-5, atol=1e-5)
    assert torch.equal(image, normalise(pixels)) and torch.equal(same, torch.tensor(box))


def test_the_seed_decides(pixels: np.ndarray) -> None:
    augmentation = Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=0.5)
    first, second, others = (augmentation(pixels, NO_BOX, seed)[0] for seed in (11, 11, 12))
    assert torch.equal(first, second) and not torch.equal(first, others)


def test_the_given_pixels_and_box_are_left_alone(pixels: np.ndarray) -> None:
    before, box = pixels.copy(), np.array([0.1, 0.2, 0.7, 0.5], np.float32)
    for seed in range(5):
        Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=1.0)(pixels, box, seed)
    assert (pixels == before).all() and box.tolist() == np.float32([0.1, 0.2, 0.7, 0.5]).tolist()


def test_mirroring_takes_the_box_along(pixels: np.ndarray) -> None:
    mirror = Augmentation(**OFF | {"flip": 1.0})
    assert torch.equal(mirror(pixels, NO_BOX, 0)[0], normalise(pixels).flip(2))
    drawn, box = with_rectangle(4, 10, 20, 40)
    image, moved = mirror(drawn, box, 0)
    assert found_again(image) == pytest.approx([28 / W, 10 / H, 44 / W, 40 / H])
    assert moved.tolist() == pytest.approx(found_again(image), abs=1e-6)


def test_half_of_the_images_are_mirrored(pixels: np.ndarray) -> None:
    plain = normalise(pixels)
    kept = sum(torch.equal(Augmentation(**OFF | {"flip": 0.5})(pixels, NO_BOX, s)[0], plain) for s in range(200))
    assert 70 < kept < 130


def test_shifting_takes_the_box_along() -> None:
    drawn, box = with_rectangle(16, 20, 32, 44)
    shifts = set()
    for seed in range(40):
        image, moved = Augmentation(flip=0.5, pad=24)(drawn, box, seed)
        assert moved.tolist() == pytest.approx(found_again(image), abs=1e-6)
        x, y = round(float(moved[0]) * W) - 16, round(float(moved[1]) * H) - 20
        assert (image.numpy() < -1.5).any() == ((x, y) != (0, 0))  # black where the frame shows
        shifts.add((x, y))
    # 24 pixels at 384×128 are 6 of 96 lines and 9 of 48 columns.
    lines, columns = {y for _, y in shifts}, {x for x, _ in shifts}
    assert min(lines) < -3 and max(lines) > 3 and max(map(abs, lines)) <= 6
    assert min(columns) < -5 and max(columns) > 5 and max(map(abs, columns)) <= 9


def test_a_box_shifted_out_of_the_frame_is_clipped() -> None:
    drawn, box = with_rectangle(0, 0, W, 30)
    for seed in range(20):
        image, moved = Augmentation(**OFF | {"pad": 40})(drawn, box, seed)
        assert (moved >= 0).all() and (moved <= 1).all()
        assert moved.tolist() == pytest.approx(found_again(image), abs=1e-6)


def test_no_box_stays_no_box(pixels: np.ndarray) -> None:
    for seed in range(10):
        _, box = Augmentation(flip=0.5, pad=20, jitter=0.2, erasing=0.5)(pixels, NO_BOX, seed)
        assert box.dtype == torch.float32 and box.isnan().all()


def test_erasing_sets_one_rectangle_to_the_mean_colour_and_nothing_else(pixels: np.ndarray) -> None:
    plain, shares = normalise(pixels), []
    for seed in range(60):
        image, _ = Augmentation(**OFF | {"erasing": 1.0})(pixels, NO_BOX, seed)
        erased = (image == 0).all(0).numpy()
        rows, columns = np.nonzero(erased)
        assert erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert torch.equal(image[:, ~erased], plain[:, ~erased])
        shares.append(erased.mean())
    assert 0.01 < min(shares) < 0.06 and 0.3 < max(shares) < 0.42


def test_erasing_happens_as_often_as_told(pixels: np.ndarray) -> None:
    plain = normalise(pixels)
    kept = sum(torch.equal(Augmentation(**OFF | {"erasing": 0.3})(pixels, NO_BOX, s)[0], plain) for s in range(200))
    assert 115 < kept < 165


def test_jitter_changes_colours_and_keeps_them_in_range(pixels: np.ndarray) -> None:
    lowest = torch.tensor(normalised(np.zeros((1, 1, 3)))).float()
    highest = torch.tensor(normalised(np.full((1, 1, 3), 255.0))).float()
    for seed in range(10):
        image, _ = Augmentation(**OFF | {"jitter": 0.5})(pixels, NO_BOX, seed)
        assert not torch.allclose(image, normalise(pixels), atol=0.05)
        assert (image >= lowest - 1e-4).all() and (image <= highest + 1e-4).all()


def test_jitter_is_gains_on_a_flat_image() -> None:
    """Without contrast what is left is each channel times brightness and its own gain."""
    flat = np.full((8, 4, 3), 100, np.uint8)
    for seed in range(20):
        image, _ = Augmentation(**OFF | {"jitter": 0.1})(flat, NO_BOX, seed)
        assert image.flatten(1).std(1).max() < 1e-5
        rgb = image[:, 0, 0] * torch.tensor([0.229, 0.224, 0.225]) + torch.tensor([0.485, 0.456, 0.406])
        # Brightness and gain: 0.9² to 1.1²; contrast moves the three channels' values by a tenth of their spread.
        assert (rgb > 0.79 * 100 / 255).all() and (rgb < 1.24 * 100 / 255).all()


def test_switching_one_step_on_leaves_the_others_as_they_were() -> None:
    drawn, box = with_rectangle(8, 20, 24, 44)
    for seed in range(10):
        bare = Augmentation(flip=0.5, pad=20)(drawn, box, seed)[1]
        assert torch.equal(bare, Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=1.0)(drawn, box, seed)[1])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_rgb_of_the_asked_size(mode: str) -> None:
    file = io.BytesIO()
    grey = Image.new("RGB", (30, 50), (90, 90, 90))
    (grey.quantize() if mode == "P" else grey.convert(mode)).save(file, "JPEG" if mode == "CMYK" else "PNG")
    pixels = decode(file.getvalue(), H, W)
    assert pixels.shape == (H, W, 3) and pixels.dtype == np.uint8
    assert abs(pixels.astype(int) - 90).max() <= 3
