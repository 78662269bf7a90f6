import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cuhs.errors import CuhsError
from pipelines.storage.node_cache import NodeCache
from pipelines.storage.trees import Entry, Tree, files_of, is_entry, make_room, make_tree, remove, sums


class FolderStore:
    """Trees that lie in folders; counts the files that are fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[str, Path] = {}
        self.fetched: Counter[str] = Counter()
        self.away = False

    def put(self, name: str, files: dict[str, bytes]) -> str:
        root = self.folder / name
        root.mkdir(parents=True)
        for path, data in files.items():
            (root / path).write_bytes(data)
        digest = self._of(root).digest
        self.sources[digest] = root
        return digest

    def tree(self, digest: str) -> Tree:
        if self.away:
            raise CuhsError("the store is away")
        return self._of(self.sources[digest])

    def fill(self, tree: Tree, root: Path, progress: Any = None) -> None:
        places = {entry.path: root / entry.path for entry in tree.entries}
        make_room(root, list(places.values()))
        for entry in tree.entries:
            place = places[entry.path]
            if not is_entry(place, entry):
                remove(place)
                shutil.copy(self.sources[tree.digest] / entry.path, place)
                self.fetched[entry.path] += 1

    def _of(self, root: Path) -> Tree:
        return make_tree(Entry(name, sums(path).size, sums(path).sha256) for name, path in files_of(root))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def cache(store: FolderStore, tmp_path: Path, limit: int = 10**9) -> NodeCache:
    return NodeCache(store, tmp_path / "cache", limit)  # type: ignore[arg-type]


def test_a_tree_is_fetched_once(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put("one", {"a": b"1", "b": b"22"})
    for full in (True, False, True):
        with cache(store, tmp_path).use(digest, full=full) as root:
            assert {path.name: path.read_bytes() for path in root.iterdir()} == {"a": b"1", "b": b"22"}
        store.away = True
    assert store.fetched == {"a": 1, "b": 1}


@pytest.mark.parametrize("full", [True, False])
def test_a_shard_that_was_changed_is_fetched_again(store: FolderStore, tmp_path: Path, full: bool) -> None:
    digest = store.put("one", {"a": b"1", "b": b"22"})
    with cache(store, tmp_path).use(digest) as root:
        pass
    (root / "b").write_bytes(b"23")
    (root / "stranger").write_bytes(b"")
    with cache(store, tmp_path).use(digest, full=full) as root:
        assert (root / "b").read_bytes() == b"22"
        assert not (root / "stranger").exists()
    assert store.fetched == {"a": 1, "b": 2}


def test_rot_that_leaves_size_and_time_is_found_by_checksums(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put("one", {"a": b"1"})
    with cache(store, tmp_path).use(digest) as root:
        before = (root / "a").stat()
    (root / "a").write_bytes(b"2")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    with cache(store, tmp_path).use(digest, full=False) as root:
        assert (root / "a").read_bytes() == b"2"
    with cache(store, tmp_path).use(digest) as root:
        assert (root / "a").read_bytes() == b"1"


MARK = '{"checked": 1e12, "files": {}, "manifest": %s}'


@pytest.mark.parametrize(
    "mark",
    [
        *("", "[]", "{}", '{"checked": 1e12, "files": {}}', None, "folder", "\udcff", "[" * 100_000),
        *(MARK % "3", MARK % '"{}"', MARK.replace("1e12", '"now"') % '""', MARK.replace("{}", "{3: 4}") % '""'),
    ],
)
def test_a_tree_without_its_mark_is_checked_again(store: FolderStore, tmp_path: Path, mark: str | None) -> None:
    digest = store.put("one", {"a": b"1", "b": b"22"})
    with cache(store, tmp_path).use(digest) as root:
        pass
    (root / "b").unlink()
    path = tmp_path / "cache" / f"{digest}.json"
    path.unlink()
    if mark == "folder":
        path.mkdir()
    elif mark is not None:
        path.write_bytes(mark.encode(errors="surrogateescape"))
    with cache(store, tmp_path).use(digest, full=False) as root:
        assert (root / "b").read_bytes() == b"22"
    assert store.fetched == {"a": 1, "b": 2}


def test_what_was_not_used_for_longest_goes_first_and_nothing_in_use(store: FolderStore, tmp_path: Path) -> None:
    digests = {name: store.put(name, {"f": name.encode() * 100}) for name in "abcd"}
    small = cache(store, tmp_path, limit=300)

    def there() -> set[str]:
        held = {path.name for path in (tmp_path / "cache" / "trees").iterdir()}
        return {name for name, digest in digests.items() if digest in held}

    with small.use(digests["a"]):
        for place, name in enumerate("bc"):
            with small.use(digests[name]):
                pass
            os.utime(tmp_path / "cache" / f"{digests[name]}.use", (place, place))
        os.utime(tmp_path / "cache" / f"{digests['a']}.use", (0, 0))
        with small.use(digests["d"]):
            assert there() == {"a", "c", "d"}
    with small.use(digests["b"]):
        assert there() == {"b", "c", "d"}


def test_what_is_in_use_may_exceed_the_limit(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (store.put(name, {"f": name.encode() * 100}) for name in "ab")
    small = cache(store, tmp_path, limit=150)
    with small.use(one) as first, small.use(two) as second:
        assert (first / "f").exists() and (second / "f").exists()
    assert "CUHS_CACHE_GB" in caplog.text


def test_a_killed_user_holds_nothing(store: FolderStore, tmp_path: Path) -> None:
    one, two = (store.put(name, {"f": name.encode() * 100}) for name in "ab")
    small = cache(store, tmp_path, limit=150)
    with small.use(one) as root:
        pass
    code = (
        "import fcntl, os, sys, time\nfile = open(sys.argv[1])\nfcntl.flock(file, fcntl.LOCK_SH)\n"
        "print('held', flush=True)\ntime.sleep(60)"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache" / f"{one}.use")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert user.stdout and user.stdout.readline() == "held\n"
        with small.use(two):
            assert root.exists()
    finally:
        user.kill()
        user.communicate()
    shutil.rmtree(tmp_path / "cache" / "trees" / two)
    with small.use(two):
        assert not root.exists()


def test_the_environment_names_folder_and_limit(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUHS_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("CUHS_CACHE_GB", "1.5")
    made = NodeCache(store)  # type: ignore[arg-type]
    assert (made.root, made.limit) == (tmp_path / "here", 1_500_000_000)
    monkeypatch.setenv("CUHS_CACHE_GB", "much")
    with pytest.raises(CuhsError, match="CUHS_CACHE_GB: 'much' is not a number of gigabytes"):
        NodeCache(store)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(CuhsError, match=r"cannot be written \(.*\); name another CUHS_CACHE"):
        NodeCache(store, tmp_path / "file", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("instead", ["a file", "a pipe", "a folder in place of a file", "a pipe in place of a file"])
def test_something_else_in_a_tree_s_place_is_replaced(store: FolderStore, tmp_path: Path, instead: str) -> None:
    digest = store.put("one", {"a": b""})
    with cache(store, tmp_path).use(digest) as root:
        pass
    place = root if "place" not in instead else root / "a"
    remove(place)
    if "file" in instead and "place" not in instead:
        place.write_text("")
    elif "pipe" in instead:
        os.mkfifo(place)
    else:
        place.mkdir()
    with cache(store, tmp_path).use(digest) as root:
        assert (root / "a").read_bytes() == b""


def test_a_folder_in_place_of_a_lock_is_one_line(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put("one", {"a": b"1"})
    (tmp_path / "cache" / f"{digest}.use").mkdir(parents=True)
    with (
        pytest.raises(CuhsError, match=r"\.use: cannot be written \(Is a directory\)"),
        cache(store, tmp_path).use(digest),
    ):
        pass
