"""Figures of an evaluation: curves, and overlays on images. Does not touch matplotlib's global state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from cuhs.evaluation.groups import Group
from cuhs.evaluation.thresholds import PairDistances

# Colours that colour-blind readers can tell apart. Beyond eight groups they repeat with another dash pattern.
_COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57", "#9a5fb4", "#c77800", "#008c95", "#7a5c3e", "#5b6470")


def cmc_curves(groups: Mapping[str, Group], max_rank: int = 20) -> Figure:
    """Draw a CMC curve for each group that has a valid query.

    Args:
        groups: results of :func:`.groups.evaluate_groups`.
        max_rank: last rank to draw.
    """
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    ranks = np.arange(1, max_rank + 1)
    drawn = {name: group for name, group in groups.items() if group.ranking.valid.any()}
    for i, (name, group) in enumerate(drawn.items()):
        axes.plot(
            ranks,
            100 * group.ranking.cmc(max_rank),
            color=_COLOURS[i % len(_COLOURS)],
            linestyle=("-", "--", ":", "-.")[i // len(_COLOURS) % 4],
            linewidth=2.4 if i == 0 else 1.6,
            marker="o",
            markersize=3.5,
            label=f"{name}  (mAP {group.metrics['mAP']:.1f})",
        )
    axes.set(xlabel="rank", ylabel="queries with a true match by that rank, %", xlim=(0.5, max_rank + 0.5))
    axes.set_ylim(top=101)
    axes.set_xticks([1, *range(5, max_rank + 1, 5)])
    axes.grid(color="#d9dde2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        axes.legend(frameon=False, loc="lower right")
    else:
        axes.text(0.5, 0.5, "no query has a true match", transform=axes.transAxes, ha="center")
    return figure


def roc_curve(pairs: PairDistances) -> Figure:
    """Draw the ROC curve: same-person pairs accepted against different-person pairs accepted, in percent."""
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    false, true = pairs.roc()
    axes.plot(100 * false, 100 * true, color=_COLOURS[0], linewidth=2.2, drawstyle="steps-post")
    axes.set_xscale("log")
    # The axis starts at one wrong pair: no rate between zero and that exists.
    axes.set_xlim(100 / max(int(pairs.impostor.sum()), 10), 100)
    axes.set(xlabel="different people accepted, %", ylabel="same people accepted, %", ylim=(0, 101))
    axes.grid(color="#d9dde2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def overlay(image: Image.Image, heat: np.ndarray, hidden: np.ndarray | None = None) -> Image.Image:
    """Return the image in grey, coloured brightly where ``heat`` is high.

    Args:
        image: the picture.
        heat: (h, w) non-negative; scaled by its maximum and resized to the picture.
        hidden: (h, w) bool, cells to cross out.
    """
    heat = np.asarray(heat, np.float32)
    scaled = Image.fromarray(heat / max(float(heat.max()), 1e-12)).resize(image.size, Image.Resampling.BICUBIC)
    values = np.asarray(scaled).clip(0, 1)[..., None]
    warm = colormaps["inferno"](values[..., 0])[..., :3] * 255
    grey = np.asarray(image.convert("L").convert("RGB"), np.float32)
    mixed = (1 - 0.65 * values) * 0.75 * grey + 0.65 * values * warm
    drawn = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    if hidden is not None:
        rows, columns = hidden.shape
        pen, cell = ImageDraw.Draw(drawn), (image.width / columns, image.height / rows)
        for row, column in np.argwhere(hidden):
            left, top = column * cell[0], row * cell[1]
            pen.line((left, top, left + cell[0] - 1, top + cell[1] - 1), fill="#9fd0ff")
            pen.line((left, top + cell[1] - 1, left + cell[0] - 1, top), fill="#9fd0ff")
    return drawn


def outline(image: Image.Image, box: Sequence[float], colour: str = "#ffd000") -> Image.Image:
    """Draw a box on a copy of the image; ``box`` is x1 y1 x2 y2 as shares of width and height."""
    drawn = image.convert("RGB")
    x1, y1, x2, y2 = (share * side for share, side in zip(box, image.size * 2, strict=True))
    width = max(1, round(min(image.size) / 40))
    ImageDraw.Draw(drawn).rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)
    return drawn
