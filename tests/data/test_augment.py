"""Augmentation: seeded, and the box goes where the pixels go."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cuhs.data.augment import UNCHANGED, Augmentation, augmented, decode, normalise

H, W = 96, 48
NO_BOX = np.full(4, np.nan, np.float32)
OFF = {"flip": 0.0, "pad": 0, "jitter": 0.0, "erasing": 0.0}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# One of 255 grey levels, in units of the input's channel with the smallest deviation.
GREY_LEVEL = 1 / 255 / 0.224


def batch(
    augmentation: Augmentation, pixels: np.ndarray, boxes: np.ndarray, seeds: list[int | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, H, W, 3) and boxes (n, 4), each changed by its seed, or not at all."""
    draws = [UNCHANGED if seed is None else augmentation.draw(seed, *pixels.shape[1:3]) for seed in seeds]
    return augmented(*(torch.from_numpy(each) for each in (pixels, boxes, np.stack(draws))))


def one(
    augmentation: Augmentation, pixels: np.ndarray, box: np.ndarray, seed: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    images, boxes = batch(augmentation, pixels[None], box[None], [seed])
    return images[0], boxes[0]


def plain(pixels: np.ndarray) -> torch.Tensor:
    return normalise(torch.from_numpy(pixels[None]))[0]


def by_hand(
    augmentation: Augmentation, pixels: np.ndarray, box: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image after another, in float64, step by step in the order of the draws."""
    rng, (h, w, _) = np.random.default_rng(seed), pixels.shape
    mirrored, shift = rng.random() < augmentation.flip, rng.uniform(-1, 1, 2)
    brightness, contrast, *gains = 1 + augmentation.jitter * rng.uniform(-1, 1, 5)
    if mirrored:
        pixels, box = pixels[:, ::-1], np.array([1 - box[2], box[1], 1 - box[0], box[3]])
    dy, dx = (
        round(s * augmentation.pad * side / full) for s, side, full in zip(shift, (h, w), (384, 128), strict=True)
    )
    moved = np.zeros((h, w, 3))
    for y in range(h):
        for x in range(w):
            if 0 <= y - dy < h and 0 <= x - dx < w:
                moved[y, x] = pixels[y - dy, x - dx]
    image = (moved / 255 - MEAN) / STD
    if augmentation.jitter:
        rgb = ((image - image.mean()) * contrast + image.mean()) * STD + MEAN
        image = ((rgb * brightness * gains).clip(0, 1) - MEAN) / STD
    if rng.random() < augmentation.erasing:
        for _ in range(20):
            area, aspect = rng.uniform(0.02, 0.4) * h * w, np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
            eh, ew = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if 0 < eh < h and 0 < ew < w:
                y, x = rng.integers(0, h - eh + 1), rng.integers(0, w - ew + 1)
                image[y : y + eh, x : x + ew] = 0
                break
    return image.transpose(2, 0, 1), (box + np.array([dx / w, dy / h, dx / w, dy / h])).clip(0, 1)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """By hand: 0 to 1, then ImageNet's mean and standard deviation per channel."""
    return np.stack([(pixels[:, :, c] / 255 - MEAN[c]) / STD[c] for c in range(3)])


def with_rectangle(x1: int, y1: int, x2: int, y2: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with a white rectangle, and the rectangle as a box."""
    pixels = np.full((H, W, 3), 60, np.uint8)
    pixels[y1:y2, x1:x2] = 255
    return pixels, np.array([x1 / W, y1 / H, x2 / W, y2 / H], np.float32)


def found_again(image: torch.Tensor) -> list[float]:
    """The bright rectangle's box in an input."""
    rows, columns = np.nonzero(image[1].numpy() > 1)
    return [columns.min() / W, rows.min() / H, (columns.max() + 1) / W, (rows.max() + 1) / H]


AUGMENTATIONS = {
    "all": Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=0.5),
    "defaults": Augmentation(),
    "mirrored": Augmentation(flip=1.0, pad=0),
    "shifted": Augmentation(flip=0.0, pad=60),
    "strong jitter": Augmentation(flip=0.0, pad=0, jitter=0.9),
    "erased": Augmentation(flip=0.5, pad=0, erasing=1.0),
    "off": Augmentation(**OFF),
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("size", [(96, 48), (33, 17)])
def test_a_batch_is_what_each_image_would_be_by_itself(augmentation: Augmentation, size: tuple[int, int]) -> None:
    rng, n = np.random.default_rng(1), 24
    pixels = rng.integers(0, 256, (n, *size, 3), dtype=np.uint8)
    boxes = rng.random((n, 2, 2)).astype(np.float32)
    boxes = np.sort(boxes, 1).reshape(n, 4)
    boxes[::5] = np.nan
    images, moved = batch(augmentation, pixels, boxes, list(range(n)))
    assert images.dtype == moved.dtype == torch.float32 and images.shape == (n, 3, *size)
    assert images.is_contiguous(memory_format=torch.channels_last)
    for seed in range(n):
        image, box = by_hand(augmentation, pixels[seed], boxes[seed], seed)
        assert np.abs(images[seed].numpy() - image).max() < GREY_LEVEL / 10
        np.testing.assert_allclose(moved[seed], box, atol=1e-6)
        assert np.isnan(box).all() == (seed % 5 == 0)


def test_an_images_result_does_not_depend_on_its_batch() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, H, W, 3), dtype=np.uint8)
    boxes, seeds = np.tile(NO_BOX, (9, 1)), [3, None, 5, 6, None, 8, 9, 10, 11]
    together, _ = batch(AUGMENTATIONS["all"], pixels, boxes, seeds)
    for i, seed in enumerate(seeds):
        assert torch.equal(together[i], one(AUGMENTATIONS["all"], pixels[i], NO_BOX, seed)[0])


def test_images_without_a_seed_are_only_normalised(pixels: np.ndarray) -> None:
    box = np.array([0.1, 0.2, 0.7, 0.5], np.float32)
    images, boxes = batch(AUGMENTATIONS["all"], np.stack([pixels] * 3), np.stack([box] * 3), [None, 4, None])
    for i in (0, 2):
        assert torch.equal(images[i], plain(pixels)) and boxes[i].tolist() == box.tolist()
    assert not torch.equal(images[1], images[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_batch_and_the_host_does_not_wait_for_it() -> None:
    rng, n = np.random.default_rng(1), 16
    pixels, boxes = rng.integers(0, 256, (n, H, W, 3), dtype=np.uint8), np.tile(NO_BOX, (n, 1))
    changes = np.stack([AUGMENTATIONS["all"].draw(seed, H, W) for seed in range(n)])
    here = [torch.from_numpy(each) for each in (pixels, boxes, changes)]
    there = [each.cuda() for each in here]
    augmented(*there)  # constants are copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        images, _ = augmented(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(images.cpu(), augmented(*here)[0], rtol=0, atol=GREY_LEVEL / 10)


def test_everything_off_is_normalisation(pixels: np.ndarray) -> None:
    box = np.array([0.1, 0.2, 0.7, 0.5], np.float32)
    image, same = one(Augmentation(**OFF), pixels, box, seed=3)
    assert image.dtype == same.dtype == torch.float32 and image.shape == (3, H, W)
    np.testing.assert_allclose(image, normalised(pixels), rtol=1e-5, atol=1e-5)
    assert torch.equal(image, plain(pixels)) and torch.equal(same, torch.tensor(box))


def test_the_seed_decides(pixels: np.ndarray) -> None:
    augmentation = Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=0.5)
    first, second, others = (one(augmentation, pixels, NO_BOX, seed)[0] for seed in (11, 11, 12))
    assert torch.equal(first, second) and not torch.equal(first, others)


def test_the_given_pixels_and_box_are_left_alone(pixels: np.ndarray) -> None:
    before, box = pixels.copy(), np.array([0.1, 0.2, 0.7, 0.5], np.float32)
    for seed in range(5):
        one(Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=1.0), pixels, box, seed)
    assert (pixels == before).all() and box.tolist() == np.float32([0.1, 0.2, 0.7, 0.5]).tolist()


def test_mirroring_takes_the_box_along(pixels: np.ndarray) -> None:
    mirror = Augmentation(**OFF | {"flip": 1.0})
    assert torch.equal(one(mirror, pixels, NO_BOX, 0)[0], plain(pixels).flip(2))
    drawn, box = with_rectangle(4, 10, 20, 40)
    image, moved = one(mirror, drawn, box, 0)
    assert found_again(image) == pytest.approx([28 / W, 10 / H, 44 / W, 40 / H])
    assert moved.tolist() == pytest.approx(found_again(image), abs=1e-6)


def test_half_of_the_images_are_mirrored(pixels: np.ndarray) -> None:
    before = plain(pixels)
    kept = sum(
        torch.equal(one(Augmentation(**OFF | {"flip": 0.5}), pixels, NO_BOX, s)[0], before) for s in range(200)
    )
    assert 70 < kept < 130


def test_shifting_takes_the_box_along() -> None:
    drawn, box = with_rectangle(16, 20, 32, 44)
    shifts = set()
    for seed in range(40):
        image, moved = one(Augmentation(flip=0.5, pad=24), drawn, box, seed)
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
        image, moved = one(Augmentation(**OFF | {"pad": 40}), drawn, box, seed)
        assert (moved >= 0).all() and (moved <= 1).all()
        assert moved.tolist() == pytest.approx(found_again(image), abs=1e-6)


def test_no_box_stays_no_box(pixels: np.ndarray) -> None:
    for seed in range(10):
        _, box = one(Augmentation(flip=0.5, pad=20, jitter=0.2, erasing=0.5), pixels, NO_BOX, seed)
        assert box.dtype == torch.float32 and box.isnan().all()


def test_erasing_sets_one_rectangle_to_the_mean_colour_and_nothing_else(pixels: np.ndarray) -> None:
    before, shares = plain(pixels), []
    for seed in range(60):
        image, _ = one(Augmentation(**OFF | {"erasing": 1.0}), pixels, NO_BOX, seed)
        erased = (image == 0).all(0).numpy()
        rows, columns = np.nonzero(erased)
        assert erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert torch.equal(image[:, ~erased], before[:, ~erased])
        shares.append(erased.mean())
    assert 0.01 < min(shares) < 0.06 and 0.3 < max(shares) < 0.42


def test_erasing_happens_as_often_as_told(pixels: np.ndarray) -> None:
    before = plain(pixels)
    kept = sum(
        torch.equal(one(Augmentation(**OFF | {"erasing": 0.3}), pixels, NO_BOX, s)[0], before) for s in range(200)
    )
    assert 115 < kept < 165


def test_jitter_changes_colours_and_keeps_them_in_range(pixels: np.ndarray) -> None:
    lowest = torch.tensor(normalised(np.zeros((1, 1, 3)))).float()
    highest = torch.tensor(normalised(np.full((1, 1, 3), 255.0))).float()
    for seed in range(10):
        image, _ = one(Augmentation(**OFF | {"jitter": 0.5}), pixels, NO_BOX, seed)
        assert not torch.allclose(image, plain(pixels), atol=0.05)
        assert (image >= lowest - 1e-4).all() and (image <= highest + 1e-4).all()


def test_jitter_is_gains_on_a_flat_image() -> None:
    """Without contrast what is left is each channel times brightness and its own gain."""
    flat = np.full((8, 4, 3), 100, np.uint8)
    for seed in range(20):
        image, _ = one(Augmentation(**OFF | {"jitter": 0.1}), flat, NO_BOX, seed)
        assert image.flatten(1).std(1).max() < 1e-5
        rgb = image[:, 0, 0] * torch.tensor([0.229, 0.224, 0.225]) + torch.tensor([0.485, 0.456, 0.406])
        # Brightness and gain: 0.9² to 1.1²; contrast moves the three channels' values by a tenth of their spread.
        assert (rgb > 0.79 * 100 / 255).all() and (rgb < 1.24 * 100 / 255).all()


def test_switching_one_step_on_leaves_the_others_as_they_were() -> None:
    drawn, box = with_rectangle(8, 20, 24, 44)
    for seed in range(10):
        bare = one(Augmentation(flip=0.5, pad=20), drawn, box, seed)[1]
        assert torch.equal(bare, one(Augmentation(flip=0.5, pad=20, jitter=0.3, erasing=1.0), drawn, box, seed)[1])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_rgb_of_the_asked_size(mode: str) -> None:
    file = io.BytesIO()
    grey = Image.new("RGB", (30, 50), (90, 90, 90))
    (grey.quantize() if mode == "P" else grey.convert(mode)).save(file, "JPEG" if mode == "CMYK" else "PNG")
    pixels = decode(file.getvalue(), H, W)
    assert pixels.shape == (H, W, 3) and pixels.dtype == np.uint8
    assert abs(pixels.astype(int) - 90).max() <= 3
