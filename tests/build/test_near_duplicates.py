import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from cuhs.build.near_duplicates import BITS, COPY, VIEWS, nearest, photograph_hash

REAL = os.environ.get("CUHS_REAL_DATA")

Change = Callable[[Image.Image], Image.Image]


def scene(seed: int, size: tuple[int, int] = (64, 160)) -> Image.Image:
    """Coloured blobs: large and small structure, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 8, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def hash_of(image: Image.Image) -> str:
    text = photograph_hash(np.asarray(image))
    assert text is not None
    return text


def bits(first: Image.Image, second: Image.Image) -> int:
    return int(nearest([hash_of(first)], [hash_of(second)])[1][0])


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round(width - right * width), round(height - bottom * height))
    )


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


COPIES: dict[str, Change] = {
    "itself": lambda image: image,
    "quality 90": lambda image: compressed(image, 90),
    "quality 30": lambda image: compressed(image, 30),
    "half the size": lambda image: resized(image, 0.5),
    "double the size": lambda image: resized(image, 2),
    "128×64": lambda image: image.resize((64, 128), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cut by 2.5 %": lambda image: cut(image, *[0.025] * 4),
    "cut by 5 %": lambda image: cut(image, *[0.05] * 4),
    "cut on the left": lambda image: cut(image, 0.05, 0, 0, 0),
    "cut below": lambda image: cut(image, 0, 0, 0, 0.05),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_differs_in_few_bits_whichever_of_the_two_is_the_original(change: Change) -> None:
    for seed in range(5):
        image = scene(seed)
        assert bits(image, change(image)) <= COPY
        assert bits(change(image), image) <= COPY


def test_other_images_and_mirrored_ones_differ_in_many() -> None:
    images = [scene(seed) for seed in range(20)]
    distances = [bits(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert min(distances) > 2 * COPY
    mirrored = [bits(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in images]
    assert min(mirrored) > 2 * COPY


def test_each_bit_is_the_sign_of_a_frequency_the_lowest_first() -> None:
    x, y = ((np.arange(size) + 0.5) / size for size in (96, 192))

    def signs(frequency_down: int, frequency_across: int, sign: int = 1) -> np.ndarray:
        wave = np.cos(np.pi * frequency_down * y)[:, None] * np.cos(np.pi * frequency_across * x)
        grey = (128 + sign * 100 * wave).round().astype(np.uint8)
        whole = bytes.fromhex(hash_of(Image.fromarray(np.repeat(grey[..., None], 3, axis=2)))[:64])
        return np.unpackbits(np.frombuffer(whole, np.uint8))

    # Frequencies down and across: 0 1, 1 0, 0 2, 1 1, 2 0, and so on along the diagonals.
    for place, (down, across) in enumerate([(0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]):
        assert (signs(down, across)[place], signs(down, across, -1)[place]) == (1, 0)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_image_has_no_hash(level: int) -> None:
    assert photograph_hash(np.full((128, 64, 3), level, np.uint8)) is None
    noisy = np.random.default_rng(0).normal(level, 1, (128, 64, 3)).clip(0, 255).astype(np.uint8)
    assert photograph_hash(noisy) is None


def test_the_smallest_images_have_a_hash() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert len(hash_of(Image.fromarray(noise))) == 64 * len(VIEWS)


def text(rows: np.ndarray) -> list[str]:
    """(N, 7, 256) bits as hashes."""
    return [np.packbits(row).tobytes().hex() for row in rows]


def test_the_nearest_is_that_of_a_comparison_of_all_pairs_and_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    among = rng.integers(0, 2, (300, len(VIEWS), BITS), dtype=np.uint8)
    picked = 10 + rng.permutation(180)[:101]
    asked = among[picked] ^ (rng.random((101, len(VIEWS), BITS)) < 0.1)
    # The whole of one is a view of the other, either way round.
    asked[3, 0], among[picked[4], 0] = among[picked[3], 5], asked[4, 2]
    asked[3, 0, :64], among[picked[4], 0, :64] = among[picked[3], 0, :64], asked[4, 0, :64]
    among[200] = among[3]
    among[250:253] = asked[7]

    index, distance = nearest(text(asked), text(among))
    one_way = (asked[:, None, :1] != among[None]).sum(axis=3).min(axis=2)
    other_way = (asked[:, None] != among[None, :, :1]).sum(axis=3).min(axis=2)
    pairs = np.minimum(one_way, other_way)
    assert np.array_equal(index, pairs.argmin(axis=1)) and np.array_equal(distance, pairs.min(axis=1))
    assert (index[7], distance[7]) == (250, 0)
    assert max(distance[3], distance[4]) < 64


def test_hashes_that_agree_in_nothing_have_no_nearest() -> None:
    index, distance = nearest(["0" * 64 * len(VIEWS)], ["f" * 64 * len(VIEWS)])
    assert (index.tolist(), distance.tolist()) == ([-1], [BITS])


@pytest.mark.skipif(not REAL, reason="CUHS_REAL_DATA names no folder of real images")
def test_copies_of_real_images_are_found() -> None:
    files = sorted((Path(REAL or "") / "cuhk03/images_labeled").glob("*.jpg"))[::40]
    images = [Image.open(file).convert("RGB") for file in files]
    rng = np.random.default_rng(0)
    originals = [hash_of(image) for image in images]

    def found(change: Change) -> float:
        index, distance = nearest([hash_of(change(image)) for image in images], originals)
        return float(np.mean((index == np.arange(len(images))) & (distance <= COPY)))

    assert len(images) == 205
    assert {name: share for name, change in COPIES.items() if (share := found(change)) < 0.98} == {}
    assert found(lambda image: compressed(resized(cut(image, *[0.05] * 4), 0.5), 60)) > 0.97
    assert found(lambda image: cut(image, *rng.uniform(0, 0.05, 4))) > 0.78
    assert found(lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0
