"""The evaluation report: one HTML file that needs no other file."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from cuhs.evaluation.examples import Example
from cuhs.evaluation.groups import Metrics
from cuhs.evaluation.intervals import Difference
from cuhs.evaluation.thresholds import OperatingPoint

Picture = Figure | Image.Image

# A longer list is shown as its length: hundreds of file names do not belong in a report.
_LONGEST_LIST = 12


def write(
    path: Path,
    *,
    title: str,
    groups: Mapping[str, Metrics],
    dataset: Mapping[str, Any],
    parameters: Mapping[str, Any],
    provenance: Mapping[str, Any],
    cmc: Picture | None = None,
    roc: Picture | None = None,
    thresholds: Sequence[tuple[float, OperatingPoint]] = (),
    slices: Mapping[str, Mapping[str, Metrics]] | None = None,
    comparisons: Mapping[str, Sequence[tuple[str, int, Difference]]] | None = None,
    examples: Mapping[str, Sequence[Example]] | None = None,
    training_curves: Picture | None = None,
    contact_sheet: Picture | None = None,
) -> None:
    """Write the report, creating its folder.

    Args:
        path: the HTML file.
        title: names the model and the dataset it was evaluated on.
        groups: measures of each group (``metrics`` of :class:`.groups.Group`); the first is the headline.
        dataset: description of the evaluated dataset; nested mappings are shown with dotted keys.
        parameters: parameters of training and evaluation.
        provenance: where the model comes from: commit, data version, MLflow run and the like.
        cmc: CMC curves.
        roc: ROC curve of same-person against different-person pairs.
        thresholds: requested false match rates, and the operating point of each.
        slices: {label kind: {label: measures}}.
        comparisons: {other model: (group, number of queries, this model minus the other) for each group}.
        examples: example queries of each group.
        training_curves: losses and measures over the epochs.
        contact_sheet: samples of the dataset.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _data_uri
    environment.filters["thumbnail"] = _thumbnail
    environment.filters["measure"] = _measure_name
    headline = next(iter(groups.values()))
    html = environment.get_template("report.html.j2").render(
        title=title,
        groups=groups,
        headline=headline,
        measures=[key for key in headline if f"{key}_low" in headline],
        facts={
            "Provenance": dict(_flat(provenance)),
            "Dataset": dict(_flat(dataset)),
            "Parameters": dict(_flat(parameters)),
        },
        cmc=cmc,
        roc=roc,
        thresholds=thresholds,
        slices=slices or {},
        comparisons=comparisons or {},
        examples={group: shown for group, shown in (examples or {}).items() if shown},
        training_curves=training_curves,
        contact_sheet=contact_sheet,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def _data_uri(picture: Picture) -> str:
    """Encode a picture as a WebP ``data:`` URI; the same picture gives the same text."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="webp", dpi=130, pil_kwargs={"quality": 88})
    else:
        picture.convert("RGB").save(buffer, format="webp", quality=88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thumbnail(picture: Image.Image) -> str:
    """Encode as :func:`_data_uri`, at twice the displayed size for high-density screens at most."""
    small = picture.copy()
    small.thumbnail((150, 350))
    return _data_uri(small)


def _measure_name(key: str) -> str:
    return f"Rank-{key.removeprefix('rank')}" if key.startswith("rank") else key


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested mappings to dotted keys and readable text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            brief = f"{len(value)} entries" if len(value) > _LONGEST_LIST else ", ".join(map(str, value))
            yield f"{prefix}{key}", brief or "none"
        else:
            yield f"{prefix}{key}", "–" if value is None else str(value)
