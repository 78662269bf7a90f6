import csv
import os
from pathlib import Path

import pytest

from cuhs.csv_files import read_csv, write_csv
from cuhs.errors import CuhsError

NAMES = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", "=cmd|' /C calc'!A0", "'=1", "''-1", "'quoted", "'", "o'=x", "a=b"),
    *("0001", "ann, lee", 'the "boss"', "two\nlines", "José", "train-0005", "x\t=1"),
]


def test_no_text_acts_as_a_formula_and_all_of_it_comes_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("pid", "@name", "ap"), [(name, name, -0.5) for name in NAMES])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        raw = list(csv.reader(file))
    assert not [cell for row in raw for cell in row if cell[:1] in tuple("=+-@\t\r") and cell != "-0.5"]
    read = [record for _, record in read_csv(tmp_path / "t.csv", ("pid", "@name", "ap"))]
    assert [record["pid"] for record in read] == [record["@name"] for record in read] == NAMES
    assert {record["ap"] for record in read} == {"-0.5"}


@pytest.mark.parametrize("name", ["\tx", "\r=1", "\n=1"])
def test_what_a_spreadsheet_drops_before_it_looks_hides_no_formula(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "t.csv", ("pid",), [(name,)])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{name}"]
    assert read_csv(tmp_path / "t.csv", ("pid",))[0][1] == {"pid": name}


def test_spaces_around_names_of_columns_lose_no_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffpid , camid, group \n1, 2 ,x\n\n3,,y\n", encoding="utf-8")
    rows = read_csv(tmp_path / "t.csv", ("pid", "camid"), optional=("group", "note"), may_be_empty=("camid",))
    assert rows == [(2, {"pid": "1", "camid": "2", "group": "x"}), (4, {"pid": "3", "camid": "", "group": "y"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pid,pid \n1,2\n", "column pid is there twice"),
        ("pid;colour\n1;black\n", "no column pid; separate values with commas, not with ';'"),
        ("person\tcolour\n1\tblack\n", "no column pid; separate values with commas, not with '\\t'"),
        ("person,colour\n1,black\n", "no column pid; the header must be pid"),
        ("", "no column pid"),
        ("x,pid\n1\n", "row 2: a value is missing; give pid"),
        ("pid\na,b\n", "row 2: 2 values for 1 columns; put a value with a comma in quotes"),
        (f"pid\n{'x' * 200_000}\n", "row 2: not a readable CSV file (field larger than field limit (131072))"),
    ],
)
def test_a_table_that_cannot_be_read_as_it_was_meant_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CuhsError) as refused:
        read_csv(tmp_path / "t.csv", ("pid",))
    assert f"t.csv{', ' if message.startswith('row') else ': '}{message}" in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(CuhsError, match=r"t\.csv: not a file$"):
        read_csv(tmp_path / "t.csv", ("pid",))
