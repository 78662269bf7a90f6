import json
import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cuhs.errors import CuhsError
from pipelines.storage import trees
from pipelines.storage.trees import Entry, files_of, is_entry, make_room, make_tree, read_tree, remove, sums

SHA = "ab" * 32


def manifest(*files: dict[str, Any]) -> bytes:
    return json.dumps({"files": files}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(data: bytes) -> trees.Tree:
    return read_tree(data, sha256(data).hexdigest())


def test_a_manifest_is_the_same_in_any_order_and_reads_back() -> None:
    entries = [Entry("b", 1, SHA), Entry("a/ü", 2, SHA)]
    tree = make_tree(entries)
    assert tree == make_tree(reversed(entries))
    assert tree.to_json() == manifest(
        {"path": "a/ü", "sha256": SHA, "size": 2}, {"path": "b", "sha256": SHA, "size": 1}
    )
    assert read(tree.to_json()) == tree
    assert tree.digest == sha256(tree.to_json()).hexdigest()
    assert tree.size == 3
    assert read(make_tree([]).to_json()).entries == ()
    assert read(manifest({"path": ".", "sha256": SHA, "size": 1})).entries == (Entry(".", 1, SHA),)


@pytest.mark.parametrize(
    "path",
    [
        *("../a", "a/../../b", "/etc/passwd", "//a", "a/..", "..", "a/./b", "./a", "a//b", "a/", ""),
        *("a\\b", "..\\a", "C:\\a", "a\nb", "a\x00b"),
        *(".git/hooks/post-checkout", "a/.git", ".GIT/config"),
    ],
)
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(CuhsError, match=r"^tree [0-9a-f]{64}: refused, "):
        read(manifest({"path": path, "sha256": SHA, "size": 1}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (manifest({"path": "a", "sha256": SHA, "size": -1}), "refused, 'a' has no proper size"),
        (manifest({"path": "a", "sha256": SHA, "size": 10**400}), "refused, 'a' has no proper size"),
        (b'{"files":' + b"[" * 100_000, "not a manifest"),
        (manifest({"path": "a", "sha256": SHA, "size": True}), "refused, 'a' has no proper size"),
        (manifest({"path": "a", "sha256": "../../x", "size": 1}), "refused, 'a' has no proper size and checksum"),
        (manifest(*2 * [{"path": "a", "sha256": SHA, "size": 1}]), "a path is there twice"),
        (manifest(*({"path": p, "sha256": SHA, "size": 1} for p in ("a", "a/b"))), "'a' is both a file and a folder"),
        (manifest(*({"path": p, "sha256": SHA, "size": 1} for p in (".", "a"))), "leaves its folder"),
        (manifest({"path": 5, "sha256": SHA, "size": 1}), "not canonical"),
        (manifest({"path": "a", "sha256": SHA, "size": 1, "link": "/etc"}), "not canonical"),
        (manifest(*({"path": p, "sha256": SHA, "size": 1} for p in ("b", "a"))), "not canonical"),
        (b'{"files": []}', "not canonical"),
        (b"[1]", "not a manifest"),
        (b"\xff", "not a manifest"),
        (b'{"files":[{"path":"a"}]}', "not a manifest"),
    ],
)
def test_a_manifest_that_is_none_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CuhsError, match=message):
        read(data)


def test_a_manifest_under_another_digest_is_damaged() -> None:
    with pytest.raises(CuhsError, match="its manifest is damaged"):
        read_tree(manifest(), SHA)


def test_files_are_found_in_order_and_links_to_files_followed(tmp_path: Path) -> None:
    (tmp_path / "root" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "root" / "b" / "f").write_text("1")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    root = tmp_path / "root"
    assert files_of(root) == [("a", root / "a"), ("b/f", root / "b" / "f")]
    assert files_of(root / "a") == [(".", root / "a")]
    with pytest.raises(CuhsError, match="no such file or folder"):
        files_of(root / "none")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(CuhsError, match=message):
            files_of(tmp_path)
        remove(tmp_path / "odd")

    (tmp_path / "odd").symlink_to(tmp_path)
    refused("a link to a folder")
    (tmp_path / "odd").symlink_to(tmp_path / "nothing")
    refused("neither a file nor a folder")
    os.mkfifo(tmp_path / "odd")
    refused("neither a file nor a folder")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("")
    refused("its name is not UTF-8")


@pytest.mark.parametrize(("size", "parts"), [(0, None), (9, None), (10, 1), (25, 3), (30, 3)])
def test_sums_are_in_the_server_s_notation(
    size: int, parts: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "PART_SIZE", 10)
    data = bytes(range(size))
    (tmp_path / "f").write_bytes(data)
    found = sums(tmp_path / "f")
    assert (found.size, found.sha256) == (size, sha256(data).hexdigest())
    digests = b"".join(sha256(data[start : start + 10]).digest() for start in range(0, size, 10))
    expected = b64encode(sha256(digests).digest()).decode() + f"-{parts}"
    assert found.at_server == (expected if parts else b64encode(sha256(data).digest()).decode())


def test_a_tree_that_no_manifest_was_read_for_stays_in_its_folder_too(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match=r"'../x': refused, its path leaves its folder"):
        list(make_tree([Entry("../x", 1, SHA)]).places(tmp_path / "root"))


def test_what_lies_behind_a_link_in_the_way_is_not_touched(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    root.symlink_to(outside)
    make_room(root, [root / "mine"])
    assert root.is_dir() and not root.is_symlink() and list(root.iterdir()) == []
    assert (outside / "mine").read_text() == "mine"


@pytest.mark.parametrize("digest", ["", "..", "../../x", "/etc/x", SHA.upper(), SHA + "0", SHA + "\n"])
def test_what_is_no_digest_becomes_part_of_no_path(digest: str) -> None:
    with pytest.raises(trees.DamagedTree, match=r"refused, it is not a tree's digest"):
        trees.check_digest(digest)
    assert trees.check_digest(SHA) == SHA


def test_room_is_made_for_files_only(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    for stranger in ("x/y/z", "a/old", "file/was/folder"):
        (root / stranger).parent.mkdir(parents=True)
        (root / stranger).write_text("")
    (root / "folder").write_text("was a file")
    (root / "linked").symlink_to(outside)
    (root / "right").write_text("")
    make_room(root, [root / "right", root / "folder/f", root / "file", root / "a/new", root / "linked/l"])
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == ["a", "folder", "linked", "right"]
    assert not (root / "linked").is_symlink() and list(outside.iterdir()) == [outside / "kept"]


def test_a_long_name_from_elsewhere_is_cut() -> None:
    with pytest.raises(CuhsError) as error:
        read(manifest({"path": "../" + "x" * 10**6, "sha256": SHA, "size": 1}))
    assert len(str(error.value)) < 500


def test_a_pipe_is_no_file_of_a_tree(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    empty = Entry("pipe", 0, sha256(b"").hexdigest())
    assert is_entry(tmp_path / "file", empty) and not is_entry(tmp_path / "pipe", empty)


def test_a_file_and_a_folder_make_room_for_one_another(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_text("")
    make_room(root, [root / "a/b"])
    assert (root / "a").is_dir()
    make_room(root, [root])
    assert not root.exists()
