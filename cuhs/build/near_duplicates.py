"""Telling whether two images are the same photograph, though one is compressed, resized or cut more tightly.

A hash is the signs of the 256 lowest frequencies of an image's discrete cosine transform, the mean left out. Each
image has seven: of the whole, and of what is left of it when 2.25 or 4.5 % are cut from every side, or 4.5 % from one
side. Two images differ in as many bits as the whole of one and the most alike of the other's seven do.

On CUHK03 (camera pair 1) copies that are compressed (JPEG quality 30), resized (to half and to double), brightened or
darkened by a tenth, or cut by 2.5 or 5 % on every side or by 5 % on one, differ from their image in 40 bits or fewer,
99 in 100 and more of each kind; of those cut by up to 5 % on each side at random, 85 in 100 do. No images of two
people, one in training and one in testing, differ in fewer than 50, but for those of people who have two identities:
three of these are the same frame with another box. Mirrored copies are not told from other images.
"""

import numpy as np
from PIL import Image

BITS = 256

# The most bits in which a copy differs.
COPY = 40

# Shares cut from the left, top, right and bottom of each view of an image.
VIEWS = (
    (0.0, 0.0, 0.0, 0.0),
    (0.0225, 0.0225, 0.0225, 0.0225),
    (0.045, 0.045, 0.045, 0.045),
    *(tuple(0.045 * (side == cut) for side in range(4)) for cut in range(4)),
)

# All views are taken from one reduced image of so many cells a side.
CELLS = 96

# Pairs whose 64 lowest frequencies, of the whole images, differ in more bits than this are not compared further: one
# pair in seventy of different people's images is, and 98 of 100 copies that are cut by 5 % on every side.
_COARSE = 20

# An image in which fewer pairs of neighbours among 16×16 cells differ in brightness shows nothing to tell it by.
_EMPTY = 64
_NOTICEABLE = 1.5  # of 255

# Hashes compared at a time: one row of distances for each stays in a core's cache.
_BLOCK = 8

# Frequencies down and across, the lowest first.
_FREQUENCIES = np.array(sorted(((i, j) for i in range(BITS) for j in range(BITS - i)), key=lambda f: (sum(f), f)))[
    1 : BITS + 1
]


def _cosines(start: float, end: float) -> np.ndarray:
    """(F, CELLS): the transform of what lies between two places of a side, from 0 to 1, as if it were the whole."""
    edges = np.linspace(0, 1, CELLS + 1).clip(start, end)
    middle = (edges[1:] + edges[:-1]) / 2
    frequencies = np.arange(_FREQUENCIES.max() + 1)[:, None]
    return np.asarray(np.diff(edges) * np.cos(np.pi * frequencies * (middle - start) / (end - start)))


_DOWN = np.stack([_cosines(top, 1 - bottom) for _, top, _, bottom in VIEWS])
_ACROSS = np.stack([_cosines(left, 1 - right).T for left, _, right, _ in VIEWS])


def photograph_hash(pixels: np.ndarray) -> str | None:
    """The hashes of all views, 64 hexadecimal digits each, or None for an image that is empty to the eye.

    Args:
        pixels: (H, W, 3) uint8.
    """
    small = Image.fromarray(pixels).convert("L").resize((CELLS, CELLS), Image.Resampling.BOX)
    grey = np.asarray(small, float)
    cells = grey.reshape(16, CELLS // 16, 16, CELLS // 16).mean(axis=(1, 3))
    if sum(np.count_nonzero(np.abs(np.diff(cells, axis=axis)) > _NOTICEABLE) for axis in (0, 1)) < _EMPTY:
        return None
    waves = (_DOWN @ grey @ _ACROSS)[:, _FREQUENCIES[:, 0], _FREQUENCIES[:, 1]]
    # Not 0: what is nothing but rounding has the same sign on every machine.
    return np.packbits(waves > 1e-6, axis=1).tobytes().hex()


def nearest(hashes: list[str], among: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each of N hashes the first of those of M others that differ from it in the fewest bits.

    The 64 lowest frequencies of all N·M pairs are compared, and the rest of those pairs that agree well in them:
    16,000 × 20,000 take some three seconds on a core, and memory for 8·M numbers.

    Returns:
        (N,) int64 index in ``among``, and (N,) int64 bits that differ; -1 and :data:`BITS` where no other agrees.
    """
    asked, others = _words(hashes), _words(among)
    coarse = np.ascontiguousarray(others[:, 0, 0])
    index, bits = np.full(len(asked), -1), np.full(len(asked), BITS)
    for start in range(0, len(asked), _BLOCK):
        alike = np.bitwise_count(asked[start : start + _BLOCK, 0, 0, None] ^ coarse) <= _COARSE
        rows, columns = np.nonzero(alike)
        if not len(rows):
            continue
        rows += start
        distance = np.minimum(
            _most_alike(asked[rows, 0], others[columns]), _most_alike(others[columns, 0], asked[rows])
        )
        # By row, then bits, then column: the first of each row is the answer.
        order = np.lexsort((columns, distance, rows))
        found, first = np.unique(rows[order], return_index=True)
        index[found], bits[found] = columns[order][first], distance[order][first]
    return index, bits


def _most_alike(whole: np.ndarray, views: np.ndarray) -> np.ndarray:
    """(S, 4) hashes of whole images against (S, 7, 4) of others': (S,) bits that differ from the most alike view."""
    return np.bitwise_count(whole[:, None] ^ views).sum(axis=2, dtype=np.int64).min(axis=1)


def _words(hashes: list[str]) -> np.ndarray:
    """(N, 7, 4) uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, len(VIEWS), BITS // 64)
