"""The report of an evaluation: pictures and tables gathered from the model, the data and the ranking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from cuhs.data.dataset import PersonImages
from cuhs.data.shards import read_summary
from cuhs.evaluation import figures, report
from cuhs.evaluation.bootstrap import Difference
from cuhs.evaluation.examples import Example, Look, examples
from cuhs.evaluation.groups import ALL, Features, Group, Metrics
from cuhs.evaluation.thresholds import OperatingPoint, PairDistances
from cuhs.explain import similarity_maps
from cuhs.export import ModelCard
from cuhs.network.cuhs import CUHS
from pipelines.base.params import Params
from pipelines.base.versions import DATASET, git_commit
from pipelines.evaluation.slicing import slices

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)

Splits = Mapping[str, PersonImages]


def write(
    path: Path,
    p: Params,
    model: CUHS,
    card: ModelCard,
    splits: Splits,
    features: Mapping[str, Features],
    groups: Mapping[str, Group],
    pairs: PairDistances,
    pictures: Mapping[str, Figure],
    reranked: Mapping[str, Metrics],
    comparisons: Mapping[str, Sequence[tuple[str, int, Difference]]],
    run_id: str | None,
) -> None:
    """Write the report of one evaluation.

    Args:
        path: the HTML file.
        p: all parameters.
        model: the network, on any device.
        card: of the model.
        splits: ``query`` and ``gallery``.
        features: of the same splits.
        groups: the evaluation's results.
        pairs: distances of genuine and impostor pairs.
        pictures: what :func:`curves` drew.
        reranked: what re-ranking would give, by group; may be empty.
        comparisons: with other models, by name.
        run_id: the MLflow run that holds the evaluation; none where MLflow does not know it yet.
    """
    summary = read_summary(DATASET)
    commit, dirty = git_commit()
    sheet = p.data.raw / "contact_sheet.jpg"
    looks = _explainer(model, splits)
    shown = {
        name: [
            replace(example, looks=looks(example))
            for example in examples(
                features["query"], features["gallery"], group, _picture(splits["query"]), _picture(splits["gallery"])
            )
        ]
        for name, group in groups.items()
    }
    report.write(
        path,
        title=f"{p.variant} on {p.data.name}",
        groups={name: group.metrics for name, group in groups.items()},
        dataset={"name": summary["name"], "protocol": summary["protocol"], **summary["groups"]},
        parameters=p.model_dump(mode="json"),
        provenance={
            "data version": summary["version"],
            "model": card.about,
            "git commit": commit + (" with local changes" if dirty else ""),
            "MLflow run": run_id or "not sent yet",
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        cmc=pictures["cmc"],
        roc=pictures.get("roc"),
        thresholds=operating_points(pairs),
        slices=slices(splits, features, groups[ALL]) | ({"group, re-ranked": dict(reranked)} if reranked else {}),
        comparisons=comparisons,
        examples=shown,
        contact_sheet=Image.open(sheet) if sheet.is_file() else None,
    )


def curves(groups: Mapping[str, Group], pairs: PairDistances) -> dict[str, Figure]:
    """The pictures ``cmc`` and, where there are both kinds of pairs, ``roc``."""
    pictures = {"cmc": figures.cmc_curves(groups)}
    if pairs.genuine.any() and pairs.impostor.any():
        pictures["roc"] = figures.roc_curve(pairs)
    return pictures


def operating_points(pairs: PairDistances) -> list[tuple[float, OperatingPoint]]:
    """The distance for each of :data:`FALSE_MATCH_RATES` that there are enough pairs for."""
    if not pairs.genuine.any():
        return []
    points = ((rate, pairs.at_false_match_rate(rate)) for rate in FALSE_MATCH_RATES)
    return [(rate, point) for rate, point in points if point is not None]


def _explainer(model: CUHS, splits: Splits) -> Callable[[Example], list[Look]]:
    """What each branch looks at in an example's query and first true match; each pair is worked out once."""
    device = next(model.parameters()).device
    known: dict[tuple[int, int], list[Look]] = {}

    def looks(example: Example) -> list[Look]:
        pair = example.row, example.match.row
        if pair not in known:
            inputs = torch.stack([splits["query"][pair[0]][0], splits["gallery"][pair[1]][0]]).to(device)
            made = [
                Look(name, figures.overlay(example.image, a.numpy()), figures.overlay(example.match.image, b.numpy()))
                for name, (a, b) in similarity_maps(model, inputs[0], inputs[1]).items()
            ]
            with torch.inference_mode():
                boxes = model.boxes(inputs)
            if boxes is not None:
                a, b = boxes.tolist()
                outlined = figures.outline(example.image, a), figures.outline(example.match.image, b)
                made.insert(0, Look("localised", *outlined))
            known[pair] = made
        return known[pair]

    return looks


def _picture(images: PersonImages) -> Callable[[int], Image.Image]:
    return lambda index: Image.open(BytesIO(images.encoded(index))).convert("RGB")
