import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.identity_list import IdentityList, read_identity_list

KNOWN = {"m/0001", "m/0002", "m/anna", "n/0001"}


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_sides_are_read_with_and_without_leading_zeros(tmp_path: Path) -> None:
    path = csv(tmp_path, "\ufeffpid,split,note", "m/0001,train,x", "m/2, test ,", "m/anna,train,", "n/1,test,")
    assert read_identity_list(path, KNOWN) == IdentityList(
        {"m/0001": "train", "m/0002": "test", "m/anna": "train", "n/0001": "test"}, {}
    )


def test_an_identity_has_a_row_for_each_of_its_groups(tmp_path: Path) -> None:
    path = csv(tmp_path, "pid,split,group", "m/0001,test,white", "m/0002,train,white", "m/0001,test,night-shift")
    assert read_identity_list(path, KNOWN).groups == {"m/0001": ("night-shift", "white"), "m/0002": ("white",)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["pid,side", "m/0001,train"], "no column split; the header must be pid,split"),
        (["pid,split", "m/0001,train", "m/0009,test"], "row 3: no identity m/0009 in data.sources"),
        (["pid,split", "0001,train"], "row 2: no identity 0001 in data.sources, whose identities look like m/0001"),
        (["pid,split", "0001,train"], "write m/0001, with the name of its source"),
        (["pid,split", "m/1.0,train"], "write m/0001: a spreadsheet has made a decimal number of it"),
        (["pid,split", "m/0001,query"], "row 2: split 'query' is not one of train, test"),
        (["pid,split", "m/0001,test", "m/0001,test"], "row 3: identity m/0001 is listed in row 2 already"),
        (["pid,split", "m/0001,test", "m/1,train"], "row 3: identity m/0001 is in train and in test"),
        (["pid,split,group", "m/0001,test,"], "row 2: a value is missing; give pid,split,group"),
        (["pid,split,group", "m/0001,test,a", "m/0001,test,a"], "row 3: identity m/0001 is listed in row 2 already"),
        (["pid,split,group", "m/0001,test,a", "m/0001,train,b"], "row 3: identity m/0001 is in train and in test"),
        (["pid,split,group", "m/0001,test,all"], "row 2: 'all' is no name for a group"),
        (["pid,split,group", "m/0001,test,night shift"], "row 2: 'night shift' is no name for a group"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CuhsError, match=rf"people\.csv.*{re.escape(message)}") as caught:
        read_identity_list(csv(tmp_path, *lines), KNOWN)
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"people\.csv: no such annotation file"):
        read_identity_list(tmp_path / "people.csv", KNOWN)


def test_a_build_follows_the_list(
    tmp_path: Path, market: Callable[[Path], Source], built: Callable[..., dict]
) -> None:
    source = market(tmp_path / "raw")
    path = csv(tmp_path, "pid,split,group", "m/0001,test,shop", "m/0003,train,shop", "m/0004,test,street")
    summary = built({"m": source}, identities=path, allow=["no_match"])
    assert list(summary["groups"]) == ["all", "shop", "street"]
    assert summary["groups"]["shop"]["train"] == {"ids": 1, "images": 2}
    assert summary["groups"]["street"]["query"] == {"ids": 1, "images": 1}
    assert summary["groups"]["street"]["gallery"] == {"ids": 1, "images": 4}  # two extra
    assert summary["left_out"] == 2  # of identity 2
    # Without groups of its own, the list leaves them to the protocol.
    summary = built({"m": source}, identities=csv(tmp_path, "pid,split", "m/0003,test", "m/0004,train"))
    assert list(summary["groups"]) == ["all", "black"]
    assert summary["groups"]["black"]["train"] == {"ids": 1, "images": 3}


def test_spaces_in_the_header_lose_no_column(tmp_path: Path) -> None:
    path = csv(tmp_path, "pid , split, group ", "m/0001,test,night-shift")
    assert read_identity_list(path, KNOWN) == IdentityList({"m/0001": "test"}, {"m/0001": ("night-shift",)})
