"""The paper's tables: its figures, and rows that the project can run."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import compose_and_dump
from pydantic import ValidationError

from pipelines.base.params import parse
from pipelines.paper.tables import PaperTable, Row, tables

ROOT = Path(__file__).parents[3]
ROWS = sorted({row.overrides for table in tables().values() for row in table.rows if row.overrides})


@pytest.mark.parametrize("overrides", ROWS, ids=" ".join)
@pytest.mark.parametrize("profile", ["quickstart", "paper"])
def test_every_row_composes_to_valid_parameters(overrides: tuple[str, ...], profile: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    given = ["data=fg_reid", f"profile={profile}", *overrides]
    compose_and_dump(file, str(ROOT / "pipelines/conf"), None, "config", str(ROOT), given)
    assert parse(yaml.safe_load(file.read_text()))


def test_the_figures_are_those_of_the_paper() -> None:
    rows = {name: {row.name: row for row in table.rows} for name, table in tables().items()}
    assert rows["table2"]["CUHS"].figures("fg_reid") == {"black": (80.1, 82.5), "white": (88.5, 95.5)}
    assert rows["table2"]["CUHS"].mib == 342.3
    assert rows["table3"]["CUHS"].figures("msmt17") == {"all": (62.3, 83.2)}
    assert rows["table6"]["BN + head-shoulder"].figures("dukemtmc") == {"all": (77.7, 88.4)}
    # The gains that section 5.3 names.
    black = {name: row.figures("fg_reid")["black"][0] for name, row in rows["table6"].items()}
    assert black["BN + head-shoulder"] - black["BN"] == pytest.approx(2.6)
    assert black["BN + head-shoulder + IN"] - black["BN + head-shoulder"] == pytest.approx(4.7)


def test_data_that_the_paper_lacks_stand_beside_fg_reid() -> None:
    row = Row(
        name="a", overrides=("variant=bn",), paper={"fg_reid": {"black": (1, 2)}, "market1501": {"all": (3, 4)}}
    )
    assert row.figures("market1501") == {"all": (3, 4)}
    assert row.figures("fg_synth") == {"black": (1, 2)}
    assert Row(name="b", overrides=("variant=bn",)).figures("fg_synth") == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a", "missing": "no code"}], "a is no row that runs"),
        ([{"name": "a", "overrides": ["variant=bn"]}, {"name": "b"}], "b: give overrides, or why it is missing"),
    ],
)
def test_a_table_without_its_reference_or_with_an_empty_row_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PaperTable.model_validate({"title": "t", "minus": "a", "rows": rows})
