"""Detection of head-shoulder boxes that are unlike the other boxes of their source."""

import numpy as np

# Measures of a box. A person's size in the crop varies by a factor, so sizes are compared as logarithms.
MEASURES = ("width", "height", "height to width", "centre from the left", "top", "bottom")
_AS_FACTOR = np.array([True, True, True, False, False, False])

# Largest allowed distance from the median, in robust standard deviations. Boxes of annotators and pose estimators
# have longer tails than a normal distribution: a limit of 4 would report one in fifty of CUHK03's.
LIMIT = 5.0

# Lower limits of the robust standard deviations, in logarithms or shares of the image. Where most boxes agree to the
# pixel, a slightly different box is no error.
_SMALLEST = np.array([0.08, 0.08, 0.08, 0.03, 0.03, 0.03])

# Least number of boxes for a comparison.
FEWEST = 20


def unusual(boxes: np.ndarray) -> dict[int, str]:
    """Find boxes that differ much from most boxes of their source, in size, proportion or place.

    Each measure of :data:`MEASURES` is compared with its median over all boxes. The distance is in robust standard
    deviations (1.4826 times the median absolute deviation), so that even errors in a third of the boxes do not hide
    each other. Look at these boxes, but do not drop them: a person who bends down has an unusual box, too.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in [0, 1], of one source.

    Returns:
        Row → reason, such as ``height 0.85, most have 0.26 to 0.30``, in the order of rows. The reason names the
        measure with the largest distance. Empty for fewer than :data:`FEWEST` boxes.
    """
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    if len(boxes) < FEWEST:
        return {}
    measures = _measures(boxes)
    compared = np.where(_AS_FACTOR, np.log(measures.clip(min=1e-6)), measures)
    median = np.median(compared, axis=0)
    deviation = 1.4826 * np.median(np.abs(compared - median), axis=0)
    distances = np.abs(compared - median) / np.maximum(deviation, _SMALLEST)
    usual = np.percentile(measures, (10, 90), axis=0)
    reasons = {}
    for row in np.flatnonzero(distances.max(axis=1) > LIMIT):
        worst = distances[row].argmax()
        low, high = usual[:, worst]
        reasons[int(row)] = f"{MEASURES[worst]} {measures[row, worst]:.2f}, most have {low:.2f} to {high:.2f}"
    return reasons


def _measures(boxes: np.ndarray) -> np.ndarray:
    """Return (N, 6): the values of :data:`MEASURES`."""
    x1, y1, x2, y2 = boxes.T
    width, height = x2 - x1, y2 - y1
    return np.stack([width, height, height / width.clip(min=1e-6), (x1 + x2) / 2, y1, y2], axis=1)
