"""JSON documents: read into their type, or refused in one short line."""

import os
from pathlib import Path

import pytest
from pydantic import Field

from cuhs.config import Config
from cuhs.documents import Document
from cuhs.errors import CuhsError


class Card(Config):
    name: str
    sizes: dict[str, int] = Field(default_factory=dict)


CARDS = Document(Card, "a card", "write it again")
DAMAGE = {
    "empty": b"",
    "half": b'{"name": "a", "si',
    "{}": b"{}",
    "list": b"[]",
    "text": b'"a"',
    "not UTF-8": b'{"name": "\xff"}',
    "zeros": b"\0" * 40,
    "deep": b"[" * 100_000,
    "deep value": b'{"name": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "wrong type": b'{"name": ["a"]}',
    "unknown key": b'{"name": "a", "nam": 1}',
    "digits": b'{"name": "a", "sizes": {"a": ' + b"9" * 5000 + b"}}",
    "long value": b'{"name": "a", "sizes": {"a": "' + b"x" * 10**6 + b'"}}',
    "long key": b'{"name": "a", "' + b"x" * 10**6 + b'": 1}',
    "many": b'{"name": "a"' + b"".join(b', "k%d": 1' % i for i in range(10_000)) + b"}",
}


def refusal(path: Path) -> str:
    with pytest.raises(CuhsError) as error:
        CARDS.read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000
    return str(error.value)


def test_a_document_is_read_into_its_type(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"name": "é", "sizes": {"a": 1}}', encoding="utf-8")
    assert CARDS.read(tmp_path / "card.json") == Card(name="é", sizes={"a": 1})


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_document_is_one_short_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(DAMAGE[name])
    said = refusal(path)
    assert said.startswith(f"{path}: not a card (") and said.endswith("; write it again")


def test_the_line_says_where_and_what(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text('{"name": "a", "sizes": {"b": "much"}}')
    assert "(sizes.b: Input should be a valid integer, " in refusal(path) and ", got 'much')" in refusal(path)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: missing; write it again"
    os.mkfifo(tmp_path / "pipe")
    assert "(a pipe or device)" in refusal(tmp_path / "pipe")
    assert "(a folder)" in refusal(tmp_path)
