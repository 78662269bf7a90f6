"""Writes the report of an evaluation, with pictures and tables from the model, the data and the ranking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from cuhs.data.augment import STORED
from cuhs.data.dataset import PersonImages, collate
from cuhs.data.shards import read_summary
from cuhs.evaluation import figures, report
from cuhs.evaluation.examples import Example, Look, examples
from cuhs.evaluation.features import ALL
from cuhs.evaluation.intervals import Difference
from cuhs.explain import attention_maps
from cuhs.network.cuhs import CUHS
from pipelines.base.paths import DATASET
from pipelines.base.versions import git_commit
from pipelines.evaluation.evaluation import Evaluation
from pipelines.evaluation.slicing import slices
from pipelines.evaluation.tables import operating_points

Splits = Mapping[str, PersonImages]


def write(
    path: Path,
    evaluation: Evaluation,
    comparisons: Mapping[str, Sequence[tuple[str, int, Difference]]],
    run_id: str | None,
) -> None:
    """Write the report of one evaluation.

    Args:
        path: the HTML file.
        evaluation: the model's results.
        comparisons: the comparisons with other models, by name.
        run_id: the MLflow run that holds the evaluation; none if MLflow does not know it yet.
    """
    p, splits, features, groups = evaluation.params, evaluation.splits, evaluation.features, evaluation.groups
    summary = read_summary(DATASET)
    sheet = p.data.raw / "contact_sheet.jpg"
    looks = _explainer(evaluation.model, splits)
    shown = {
        name: [
            replace(example, looks=looks(example))
            for example in examples(
                features["query"], features["gallery"], group, _picture(splits["query"]), _picture(splits["gallery"])
            )
        ]
        for name, group in groups.items()
    }
    reranked = {"group, re-ranked": evaluation.reranked} if evaluation.reranked else {}
    report.write(
        path,
        title=f"{p.variant} on {p.data.name}",
        groups=evaluation.metrics,
        dataset={"name": summary["name"], "protocol": summary["protocol"], **summary["groups"]},
        parameters=p.model_dump(mode="json"),
        provenance={
            "data version": summary["version"],
            "model": evaluation.card.about,
            "git commit": str(git_commit()),
            "MLflow run": run_id or "not sent yet",
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        cmc=evaluation.curves["cmc"],
        roc=evaluation.curves.get("roc"),
        thresholds=operating_points(evaluation.pairs),
        slices=slices(splits, features, groups[ALL]) | reranked,
        comparisons=comparisons,
        examples=shown,
        contact_sheet=Image.open(sheet, formats=STORED) if sheet.is_file() else None,
    )


def _explainer(model: CUHS, splits: Splits) -> Callable[[Example], list[Look]]:
    """A function that gives what each branch looks at in a query and its first true match; it computes pairs once."""
    device = next(model.parameters()).device
    known: dict[tuple[int, int], list[Look]] = {}

    def looks(example: Example) -> list[Look]:
        pair = example.row, example.match.row
        if pair not in known:
            inputs, _ = collate([splits["query"][pair[0]], splits["gallery"][pair[1]]]).inputs(device)
            pictures = example.image, example.match.image
            made = [
                Look(name, *(figures.overlay(*each) for each in zip(pictures, heats.numpy(), strict=True)))
                for name, heats in attention_maps(model, inputs).items()
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
    return lambda index: Image.open(BytesIO(images.encoded(index)), formats=STORED).convert("RGB")
