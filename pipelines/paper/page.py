"""A finished table as Markdown, as an HTML page and, for a curve, as a picture."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

import cuhs.evaluation
from cuhs.errors import CuhsError
from cuhs.evaluation.intervals import Difference
from pipelines.paper.estimates import Estimate, difference, estimates
from pipelines.paper.tables import Figures, PaperTable
from pipelines.paper.trainings import Evaluated, Results, Training

# Colours that colour-blind readers can tell apart.
COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57")


@dataclass(frozen=True)
class Line:
    """A row of the finished table.

    Attributes:
        name: the row's name.
        paper: the paper's figures, (mAP, rank-1) by group.
        paper_mib: the paper's size of the parameters.
        ours: {group: {measure: estimate}}; empty if there is none.
        minus: {group: difference in mAP to the row that all are compared with}; empty for that row.
        mib: our size of the parameters.
        why: why there are no figures of ours.
    """

    name: str
    paper: Figures
    paper_mib: float | None
    ours: Mapping[str, Mapping[str, Estimate]]
    minus: Mapping[str, Difference]
    mib: float | None
    why: str | None


def lines(table: PaperTable, trainings: Sequence[Training], results: Results, data: str) -> list[Line]:
    """The rows with the results of all their trainings; a row whose trainings failed says why."""
    found = {row.name: [results[t.overrides] for t in trainings if t.row is row] for row in table.rows}
    good = {name: [e for e in each if isinstance(e, Evaluated)] for name, each in found.items()}
    made = []
    for row in table.rows:
        ours = estimates(good[row.name]) if good[row.name] else {}
        compared = ours if row.name != table.minus and good[table.minus] else {}
        failed = [str(each) for each in found[row.name] if isinstance(each, CuhsError)]
        made.append(
            Line(
                name=row.name,
                paper=row.figures(data),
                paper_mib=row.mib,
                ours=ours,
                minus={group: difference(good[row.name], good[table.minus], group) for group in compared},
                mib=good[row.name][0].mib if good[row.name] else None,
                why=row.missing or next(iter(failed), None),
            )
        )
    return made


def groups_of(made: Sequence[Line]) -> list[str]:
    """All groups that any row has, in the order of the evaluation."""
    return list(dict.fromkeys(group for line in made for group in [*line.ours, *line.paper]))


def markdown(title: str, notes: Sequence[str], made: Sequence[Line], minus: str) -> str:
    """The table in Markdown."""
    parts = [f"# {title}", "", *(f"* {note}" for note in notes), ""]
    for group in groups_of(made):
        parts += [
            f"## {group}",
            "",
            f"| | paper: mAP / rank-1 | ours: mAP | ours: rank-1 | mAP minus {minus} | p | MiB: paper / ours |",
            "|---|---|---|---|---|---|---|",
            *("| " + " | ".join([line.name, *cells(line, group)]) + " |" for line in made),
            "",
        ]
    return "\n".join(parts)


def cells(line: Line, group: str) -> list[str]:
    """What the columns behind a row's name say."""
    paper = line.paper.get(group)
    ours, minus = line.ours.get(group), line.minus.get(group)
    sizes = [f"{size:.1f}" if size else "–" for size in (line.paper_mib, line.mib)]
    return [
        f"{paper[0]:.1f} / {paper[1]:.1f}" if paper else "–",
        *([_ranged(ours[measure]) for measure in ("mAP", "rank1")] if ours else [line.why or "–", "–"]),
        *([f"{minus.mean:+.1f} ({minus.low:+.1f} to {minus.high:+.1f})", f"{minus.p:.3f}"] if minus else ["–", "–"]),
        " / ".join(sizes),
    ]


def _ranged(estimate: Estimate) -> str:
    return f"{estimate.mean:.1f} ({estimate.low:.1f}–{estimate.high:.1f})"


def write_page(path: Path, title: str, notes: Sequence[str], made: Sequence[Line], table: PaperTable) -> None:
    """Write the table as one HTML file that needs no other."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(cuhs.evaluation.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("table.html.j2").render(
        title=title,
        notes=notes,
        minus=table.minus,
        groups={group: [(line, cells(line, group)) for line in made] for group in groups_of(made)},
        curve=_data_uri(curve(made)) if table.curve else None,
    )
    path.write_text(html, encoding="utf-8")


def curve(made: Sequence[Line]) -> Figure:
    """Both measures of each group over the rows, with intervals."""
    drawn = [line for line in made if line.ours]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("mAP", "rank1"), strict=True):
        for i, group in enumerate(groups_of(drawn)):
            points = [line.ours[group][measure] for line in drawn]
            means = [point.mean for point in points]
            below = [point.mean - point.low for point in points]
            above = [point.high - point.mean for point in points]
            places = [place + 0.06 * (i - 1) for place in range(len(points))]
            axes.errorbar(
                places,
                means,
                yerr=(below, above),
                label=group,
                color=COLOURS[i % len(COLOURS)],
                marker="o",
                capsize=3,
            )
        axes.set_xticks(range(len(drawn)), [line.name for line in drawn], rotation=30)
        axes.set_ylabel({"mAP": "mAP, %", "rank1": "rank-1, %"}[measure])
        axes.grid(color="#d9dde2", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=130, pil_kwargs={"quality": 88})
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
