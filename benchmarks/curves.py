"""Growth: the exponent of a power law, and curves on logarithmic axes. Does not touch matplotlib's global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator

# {measure: its values at the sizes of the curve}
Curve = Mapping[str, Sequence[float]]

COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57", "#9a5fb4")
COLUMNS = 4
# An exponent is fitted to so many of the largest sizes: at small ones, a constant cost hides the growth.
FITTED = 3


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Fit the k of values ∝ sizes^k to the largest :data:`FITTED` sizes, by least squares of the logarithms.

    Returns:
        k; NaN with fewer than two sizes, or where one of the values is not positive.
    """
    order = np.argsort(sizes)[-FITTED:]
    x, y = np.asarray(sizes, float)[order], np.asarray(values, float)[order]
    if len(x) < 2 or (y <= 0).any():
        return float("nan")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(path: Path, panels: Mapping[str, tuple[str, Sequence[float], Curve]]) -> None:
    """Write a panel for each curve to an SVG file; the same curves give the same bytes.

    Args:
        path: the file.
        panels: {title: (what the sizes count, sizes, measures)}; a measure is drawn where it is positive.
    """
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(3.3 * COLUMNS, 2.9 * rows), layout="constrained")
    for place, (title, (counted, sizes, measures)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        for colour, (measure, values) in zip(COLOURS, measures.items(), strict=False):
            k = exponent(sizes, values)
            drawn = np.where(np.asarray(values, float) > 0, values, np.nan)
            label = measure if np.isnan(k) else f"{measure} ∝ n^{k:.2f}"
            axes.loglog(sizes, drawn, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=label)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(f"n, {counted}", fontsize=8)
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7)
        axes.grid(color="#d9dde2", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cuhs", "font.family": "sans-serif"}):
        figure.savefig(path, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
