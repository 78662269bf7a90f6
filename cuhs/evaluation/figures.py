"""Pictures of a ranking: CMC curves and ranked lists, drawn without matplotlib's global state."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cuhs.evaluation.groups import Features, Group
from cuhs.evaluation.ranking import Ranking, top_k

# Distinct to colour-blind eyes; repeated only beyond eight groups, then with another dash.
_COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57", "#9a5fb4", "#c77800", "#008c95", "#7a5c3e", "#5b6470")
_HIT, _MISS, _QUERY = "#1a7f37", "#cf222e", "#5b6470"

# Ranked lists, in inches: a line, what its titles take above the images, and the largest image.
_ROW, _TITLE, _WIDTH, _HEIGHT = 2.6, 0.4, 0.9, 1.95

ImageOf = Callable[[int], Image.Image]


def cmc_curves(groups: Mapping[str, Group], max_rank: int = 20) -> Figure:
    """One CMC curve for each group that has a valid query.

    Args:
        groups: what :func:`.groups.evaluate_groups` returned.
        max_rank: last rank drawn.
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


def example_queries(ranking: Ranking, pids: Sequence | np.ndarray, count: int = 2) -> dict[str, list[int]]:
    """Up to ``count`` best, median and worst valid queries by AP, each of another identity.

    Args:
        ranking: of the queries.
        pids: (Q,) the queries' identities.
        count: queries of each kind; fewer where identities run out.

    Returns:
        ``best``, ``median`` and ``worst``: indices of queries.
    """
    order = np.flatnonzero(ranking.valid)
    order = order[np.argsort(-ranking.ap[order], kind="stable")]
    middle = (len(order) - 1) / 2
    central = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    taken = set()
    # Turn by turn, so that a group of few identities shows some of each kind.
    for _ in range(count):
        for kind, candidates in (("best", order), ("worst", order[::-1]), ("median", central)):
            for i in candidates:
                if pids[i] not in taken:
                    taken.add(pids[i])
                    chosen[kind].append(int(i))
                    break
    return chosen


def ranked_lists(
    query: Features,
    gallery: Features,
    group: Group,
    query_image: ImageOf,
    gallery_image: ImageOf,
    *,
    k: int = 10,
    count: int = 2,
) -> Figure | None:
    """Best, median and worst queries of a group, each with the first ``k`` gallery rows.

    True matches have a green solid frame and a tick, others a red dashed one. Where no true match is
    among the first ``k``, one more cell shows the nearest with its rank.

    Args:
        query: the query split.
        gallery: the gallery split.
        group: one result of :func:`.groups.evaluate_groups` on these splits.
        query_image: the image of a row of the query split.
        gallery_image: the image of a row of the gallery split.
        k: length of the lists.
        count: queries of each kind.

    Returns:
        The figure, or None when the group has no valid query.
    """
    queries, rows = query.take(group.query_rows), gallery.take(group.gallery_rows)
    examples = example_queries(group.ranking, queries.pids, count)
    lines = [(kind, i) for kind, indices in examples.items() for i in indices]
    if not lines:
        return None
    shown = queries.take(np.array([i for _, i in lines]))
    nearest, _ = top_k(shown.features, shown.pids, shown.camids, rows.features, rows.pids, rows.camids, k)
    # One axes in inches for all cells: an axes for each would take most of the time.
    figure = Figure(figsize=(k + 2, _ROW * len(lines)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, k + 2), ylim=(_ROW * len(lines), 0))
    axes.set_axis_off()
    for line, ((kind, i), found) in enumerate(zip(lines, nearest, strict=True)):
        pid, ranking = queries.pids[i], group.ranking
        title = f"{kind}\nAP {100 * ranking.ap[i]:.0f}%"
        _cell(axes, line, 0, query_image(int(group.query_rows[i])), title, pid, _QUERY, "-")
        found = found[found >= 0]
        for rank, j in enumerate(found, 1):
            image = gallery_image(int(group.gallery_rows[j]))
            if rows.pids[j] == pid:
                _cell(axes, line, rank, image, f"{rank} ✓", pid, _HIT, "-")
            else:
                _cell(axes, line, rank, image, f"{rank}", rows.pids[j], _MISS, "--")
        if not any(rows.pids[j] == pid for j in found):
            image = gallery_image(int(group.gallery_rows[ranking.first_match[i]]))
            _cell(axes, line, k + 1, image, f"{ranking.first_hit[i]} ✓", pid, _HIT, "-")
    return figure


def _cell(
    axes: Axes, line: int, column: int, image: Image.Image, title: str, pid: object, colour: str, dash: str
) -> None:
    """One framed image, whole and undistorted, with its title above and its identity below."""
    scale = min(_WIDTH / image.width, _HEIGHT / image.height)
    width, height = scale * image.width, scale * image.height
    left, top = column + (1 - width) / 2, _ROW * line + _TITLE
    pixels = np.asarray(image.convert("RGB"))
    axes.imshow(pixels, extent=(left, left + width, top + height, top), aspect="auto", interpolation="antialiased")
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=3, linestyle=dash))
    middle = column + 0.5
    axes.text(middle, top - 0.05, title, fontsize=9, color=colour, ha="center", va="bottom")
    # Namespaced identities are long; what follows the source's name tells them apart.
    tail = str(pid).rsplit("/", 1)[-1]
    axes.text(middle, top + height + 0.04, tail, fontsize=7, color=_QUERY, ha="center", va="top")
