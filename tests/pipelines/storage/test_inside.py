"""Names from elsewhere stay below their folder."""

from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from pipelines.storage.inside import inside


@pytest.mark.parametrize("name", ["a", "a/b.json", "models/cuhs", ".gitignore", "..a/b", "ü"])
def test_a_name_below_the_folder_is_its_place(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *(
            (name, "leaves its folder")
            for name in ("", ".", "..", "../a", "a/../../b", "/etc/passwd", "//a", "a/./b")
        ),
        *((name, "git's own") for name in (".git", ".git/hooks/post-checkout", "a/.git/config", ".GIT/config")),
        *((name, "backslash or a control") for name in ("..\\a", "a\nb", "a\x1b[2J", "a\x00")),
        ("\udcff", "not UTF-8"),
    ],
)
def test_any_other_name_is_one_line_that_tells_it(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=rf"^'.*': refused, .*{why}.*; do not trust what named it$"):
        inside(tmp_path, name)


def test_a_link_on_the_way_may_lead_around_in_the_folder_but_not_out_of_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "real", outside):
        folder.mkdir(parents=True)
    (root / "within").symlink_to(root / "real")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    assert inside(root, "within/a") == root / "within/a"
    for name in ("out", "out/a"):
        with pytest.raises(CuhsError, match=r"a link on the way leads outside .*/root; remove the link"):
            inside(root, name)
    assert inside(root, "loop") == root / "loop"  # nothing can be written through it


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "root", "a/b") == tmp_path / "root/a/b"
