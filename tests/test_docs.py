"""What the pages say is there, and what they tell people to type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.main import COMMANDS
from tests.imports import ROOT, file_of

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def named(page: Path) -> list[str]:
    """Paths in backticks that begin with a folder of the project."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    folders = "cuhs|pipelines|tests|infra|benchmarks|examples|docs"
    return re.findall(rf"`((?:{folders})/[\w./-]*)`", text)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert [path for path in named(page) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_is_there(page: Path) -> None:
    text = page.read_text()
    commands = set(re.findall(r"(?:^|`)cuhs ([a-z]+)\b", text, re.MULTILINE))
    assert commands <= COMMANDS.keys() | {"--help"}
    modules = set(re.findall(r"python -m ((?:pipelines|cuhs|benchmarks|infra)[\w.]*)", text))
    if page.name != "CHANGELOG.md":  # which has the old names, too
        assert {module for module in modules if not file_of(module)} == set()
    makes = set(re.findall(r"(?:^|`)make ([a-z-]+)\b", text, re.MULTILINE))
    assert makes <= TARGETS | {"alone"}


def test_the_docs_have_an_index_of_all_pages() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_the_architecture_page_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = [path.name for library in ("cuhs", "pipelines") for path in (ROOT / library).iterdir() if path.is_dir()]
    assert [room for room in rooms if room != "__pycache__" and f"{room}/" not in text] == []


def test_the_code_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    # The first one loads a trained model, which tests/test_export.py does.
    code = "import cuhs\n" + blocks[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
