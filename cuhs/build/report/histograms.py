"""Histograms of images by identity and by camera. Does not touch matplotlib's global state."""

import io
from collections import Counter

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cuhs.build.splits import Row
from cuhs.data.shards import SPLITS

_COLOURS = {"train": "#5b6470", "query": "#c77800", "gallery": "#0b6bcb"}
_BINS = 40


def images_per_identity(rows: list[Row]) -> str:
    """Draw how many identities have how many images, in training and in testing, as SVG."""
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    axes = _axes(figure)
    people = [row for row in rows if row.sample.is_person]
    training = Counter(row.sample.pid for row in people if row.split == "train")
    testing = Counter(row.sample.pid for row in people if row.split != "train")
    counted = {"train": list(training.values()), "query and gallery": list(testing.values())}
    counted = {label: values for label, values in counted.items() if values}
    edges = bin_edges(max(map(max, counted.values())))
    axes.hist(
        list(counted.values()),
        edges,
        color=[_COLOURS["train" if label == "train" else "gallery"] for label in counted],
        label=[f"{label}, median {np.median(values):g}" for label, values in counted.items()],
    )
    axes.set(xlabel="images of an identity", ylabel="identities", xlim=(edges[0], edges[-1]))
    axes.legend(frameon=False)
    return _svg(figure)


def bin_edges(most: int) -> list[float]:
    """Return the edges of at most 40 equal bins for the whole numbers from 1 to ``most``."""
    step = -(-most // _BINS)
    return [0.5 + step * number for number in range(-(-most // step) + 1)]


def images_per_camera(rows: list[Row]) -> str:
    """Draw each camera's number of images by split, as SVG; images without a camera id share one bar."""
    cameras = sorted({_camera(row) for row in rows}, key=_natural, reverse=True)
    figure = Figure(figsize=(5.6, 0.9 + 0.28 * len(cameras)), layout="constrained")
    axes = _axes(figure)
    left = np.zeros(len(cameras))
    for split in SPLITS:
        counted = Counter(_camera(row) for row in rows if row.split == split)
        width = np.array([counted[camera] for camera in cameras])
        axes.barh(cameras, width, left=left, height=0.7, color=_COLOURS[split], label=split)
        left += width
    axes.set(xlabel="images")
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return _svg(figure)


def _camera(row: Row) -> str:
    return row.sample.camid if row.sample.raw.camid is not None else f"{row.sample.source}, no camera id"


def _natural(camera: str) -> tuple[str, int, str]:
    source, _, name = camera.partition("/")
    return source, int(name) if name.isdecimal() else 0, name


def _axes(figure: Figure) -> Axes:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def _svg(figure: Figure) -> str:
    """Render a figure as an HTML element; the same figure gives the same text."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cuhs", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
