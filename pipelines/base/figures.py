"""The figures that a stage writes for the stages after it."""

from pydantic import BaseModel, ConfigDict

from cuhs.documents import Document

EVALUATE = "evaluate the model first (dvc repro evaluate)"
# Of ``reports/metrics.json``: measures by group.
METRICS = Document(dict[str, dict[str, int | float | None]], "the measures of an evaluation", EVALUATE)


class _Localiser(BaseModel):
    """Of ``reports/hsl.json``: the overlap of localised and annotated boxes of held-out people."""

    model_config = ConfigDict(extra="ignore")

    iou: float


LOCALISER = Document(_Localiser, "the figures of a localiser", "train it first (dvc repro pretrain_hsl)")
