"""The paper's tables, as ``tables.yaml`` holds them."""

from functools import cache
from pathlib import Path

from pydantic import Field, model_validator

from cuhs.config import Config
from pipelines.base.yaml_files import read_yaml

# (mAP, rank-1) by group.
Figures = dict[str, tuple[float, float]]
# FG-Synth and other data under the protocol of FG-reID are shown beside its figures.
STAND_IN = "fg_reid"


class Row(Config):
    """A row of a table.

    Attributes:
        name: how the row is called.
        overrides: what differs from the defaults, as after ``dvc exp run -S``.
        missing: why the project has no such row, instead of overrides.
        mib: size of the parameters in MiB, as in Table 2.
        paper: the paper's figures, by dataset.
    """

    name: str
    overrides: tuple[str, ...] = ()
    missing: str | None = None
    mib: float | None = None
    paper: dict[str, Figures] = Field(default_factory=dict)

    def figures(self, data: str) -> Figures:
        """The paper's figures for a dataset; of FG-reID for a dataset that the paper does not have."""
        return self.paper.get(data, self.paper.get(STAND_IN, {}))


class PaperTable(Config):
    """A table, or a figure that sweeps one parameter.

    Attributes:
        title: what it compares.
        minus: the row that all others are compared with.
        curve: whether its rows are the points of a curve.
        rows: the rows, in the paper's order.
    """

    title: str
    minus: str
    curve: bool = False
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> "PaperTable":
        if self.minus not in [row.name for row in self.rows if row.overrides]:
            raise ValueError(f"minus: {self.minus} is no row that runs")
        for row in self.rows:
            if bool(row.overrides) == bool(row.missing):
                raise ValueError(f"{row.name}: give overrides, or why it is missing")
        return self


@cache
def tables() -> dict[str, PaperTable]:
    """All tables, by name."""
    raw = read_yaml(Path(__file__).with_name("tables.yaml"), "install the project anew")
    return {name: PaperTable.model_validate(table) for name, table in raw.items()}
