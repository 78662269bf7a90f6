import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from cuhs.data.near_duplicates import BITS, COPY, difference_hash, nearest


def scene(seed: int, size: tuple[int, int] = (64, 160)) -> Image.Image:
    """Coloured blobs: large and small structure, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 8, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def bits(first: Image.Image, second: Image.Image) -> int:
    hashes = [difference_hash(np.asarray(image)) for image in (first, second)]
    assert None not in hashes
    return int(nearest(hashes[:1], hashes[1:])[1][0])


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


COPIES = {
    "itself": lambda image: image,
    "quality 90": lambda image: compressed(image, 90),
    "quality 40": lambda image: compressed(image, 40),
    "half the size": lambda image: image.resize((32, 80), Image.Resampling.BILINEAR),
    "double the size": lambda image: image.resize((128, 320), Image.Resampling.BICUBIC),
    "128×64": lambda image: image.resize((64, 128), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_differs_in_few_bits(change) -> None:
    for seed in range(5):
        assert bits(scene(seed), change(scene(seed))) <= COPY


def test_other_images_and_mirrored_ones_differ_in_many() -> None:
    images = [scene(seed) for seed in range(20)]
    distances = [bits(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert min(distances) > 2 * COPY
    mirrored = [bits(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in images]
    assert min(mirrored) > 2 * COPY


def test_each_bit_says_whether_the_right_neighbour_is_brighter() -> None:
    rising = np.repeat(np.linspace(0, 255, 17, dtype=np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    assert difference_hash(rising) == "f" * 64
    assert difference_hash(rising[:, ::-1].copy()) == "0" * 64


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_image_has_no_hash(level: int) -> None:
    assert difference_hash(np.full((128, 64, 3), level, np.uint8)) is None
    noisy = np.random.default_rng(0).normal(level, 1, (128, 64, 3)).clip(0, 255).astype(np.uint8)
    assert difference_hash(noisy) is None


def test_the_nearest_is_that_of_a_comparison_of_all_pairs_and_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    among = rng.integers(0, 2, (300, BITS), dtype=np.uint8)
    asked = among[rng.integers(0, 300, 101)] ^ (rng.random((101, BITS)) < 0.2)
    among[200] = among[3]
    among[250:253] = asked[7]

    def text(rows: np.ndarray) -> list[str]:
        return [np.packbits(row).tobytes().hex() for row in rows]

    index, distance = nearest(text(asked), text(among))
    pairs = (asked[:, None] != among[None]).sum(axis=2)
    assert np.array_equal(index, pairs.argmin(axis=1)) and np.array_equal(distance, pairs.min(axis=1))
    assert (index[7], distance[7]) == (250, 0)


def test_opposite_hashes_differ_in_every_bit() -> None:
    index, distance = nearest(["0" * 64], ["f" * 64])
    assert (index.tolist(), distance.tolist()) == ([0], [256])
