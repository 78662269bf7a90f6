"""The messages that docs/troubleshooting.md explains are messages of today's code."""

import ast
import re
from pathlib import Path

import pytest

from tests.imports import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
# Below it are messages of others.
OTHERS = "## Messages of DVC"
GAP = "…"


def template(node: ast.expr) -> str | None:
    """The text of a string or an f-string, with a gap for each value put into it; none for other expressions."""
    if isinstance(node, ast.Constant):
        return re.sub(r"%(\.\d)?[sdrf]", GAP, node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        return "".join(map(str, parts))
    return None


def templates(source: str) -> set[str]:
    """All texts of a module."""
    found = (template(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr))
    return {text for text in found if text}


def told(page: str) -> list[str]:
    """The first column of a page's tables: messages, without their backticks."""
    return re.findall(r"^\| `([^`]+(?:`[^`|]+)*)` \|", page, re.MULTILINE)


def is_there(message: str, texts: set[str]) -> bool:
    """Whether a text holds the message; a gap in the message stands for anything."""
    pattern = re.compile(".*".join(map(re.escape, message.split(GAP))), re.DOTALL)
    return any(pattern.search(text) for text in texts)


@pytest.fixture(scope="module")
def texts() -> set[str]:
    found = {(ROOT / "Makefile").read_text()}
    for folder in ("cuhs", "pipelines", "infra"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            found |= templates(file.read_text())
    return found


def test_every_message_of_ours_on_the_page_is_one_of_the_code(texts: set[str]) -> None:
    ours, others = PAGE.read_text().split(OTHERS)
    messages = told(ours)
    rows = [line for line in ours.splitlines() if line.startswith("| `")]
    assert len(messages) == len(rows) > 50
    assert [message for message in messages if not is_there(message, texts)] == []
    # Enough of each is quoted to be found by.
    assert [message for message in messages if len(message.replace(GAP, "").strip()) < 10] == []
    assert len(told(others)) > 8


def test_a_message_that_was_reworded_is_missed() -> None:
    texts = templates('raise CuhsError(f"{path}: missing; run "\n  f"from {root!r}")\nlog.warning("%s: lost", name)')
    assert {"…: missing; run from …", "…: lost"} <= texts
    assert is_there("…: missing; run from …", texts)
    assert is_there("missing; …", texts)
    assert not is_there("…: missing; start from …", texts)
    assert not is_there("params.yaml: missing", texts)


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [row for row in rows if not re.fullmatch(r"\|( [^|]{2,} \|){3}", row)] == []


def test_links_into_other_pages_lead_to_their_headings() -> None:
    for page, heading in re.findall(r"\((\w+\.md)#([\w-]+)\)", PAGE.read_text()):
        headings = re.findall(r"^#+ (.*)$", Path(ROOT / "docs" / page).read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w-]", "", name.lower().replace(" ", "-")) for name in headings}
