"""The object store against a real S3 server: what it keeps, and faults on the way."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from cuhs.errors import CuhsError
from infra.local.seaweed import Seaweed
from pipelines.storage.object_store import ObjectStore
from tests.system.proxy import Proxy
from tests.system.stored_files import content, noise, unfinished_uploads

pytestmark = pytest.mark.system


def test_a_tree_comes_back_as_it_was(proxy: Proxy, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    told: list[tuple[int, int]] = []
    digest = store.push(tree, lambda *position: told.append(position))
    total = sum(len(data) for data in content(tree).values())
    assert told[-1] == (total, total) and len(told) > 5
    assert sum(request.is_part for request in proxy.seen) == 3
    assert store.holds(digest) and store.trees() == [digest]
    assert not store.holds("0" * 64)
    assert store.tree(digest).size == total

    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    (target / "old").write_text("is not in the tree")
    told.clear()
    store.pull(digest, target, lambda *position: told.append(position))
    assert content(target) == content(tree)
    assert told[-1] == (total, total)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_only_what_is_new_is_sent(proxy: Proxy, tree: Path) -> None:
    store = ObjectStore.from_environment()
    first = store.push(tree)
    proxy.seen.clear()
    assert store.push(tree) == first
    assert proxy.count("PUT") == 0
    (tree / "a.bin").write_bytes(noise(1000, 9))
    (tree / "b" / "twice").write_bytes(noise(70_000, 2))
    second = store.push(tree)
    assert second != first
    assert proxy.count("PUT") == 1
    assert store.trees() == sorted([first, second])


def test_a_single_file_is_a_tree(s3: Seaweed, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    store = ObjectStore.from_environment()
    digest = store.push(tmp_path / "run.json")
    (tmp_path / "here.json").write_text("old")
    store.pull(digest, tmp_path / "here.json")
    assert (tmp_path / "here.json").read_text() == "{}"


def test_inner_stores_are_listed_and_deleted_whole(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    kept = store.push(tree / "b")
    digests = [store.within("runs", name).push(tree / "b") for name in ("two", "one")]
    assert digests == [kept, kept]
    assert store.within("runs").children() == ["one", "two"]
    s3.client().create_multipart_upload(Bucket=store.bucket, Key="cuhs/runs/one/objects/left")
    store.within("runs", "one").delete()
    assert store.within("runs").children() == ["two"]
    assert unfinished_uploads(s3, store) == []
    with pytest.raises(CuhsError, match=r"there is no tree .*; push it first"):
        store.within("runs", "one").pull(kept, tmp_path / "x")
    store.pull(kept, tmp_path / "x")
    with pytest.raises(CuhsError, match="a whole bucket is not deleted"):
        ObjectStore(f"s3://{store.bucket}").delete()


@pytest.mark.parametrize("name", ["a.bin", "large"])
def test_an_object_damaged_on_the_server_is_refused_and_mended_by_a_push(
    name: str, proxy: Proxy, s3: Seaweed, tree: Path, tmp_path: Path
) -> None:
    store = ObjectStore.from_environment()
    digest = store.push(tree)
    data = bytearray((tree / name).read_bytes())
    key = f"cuhs/objects/{sha256(data).hexdigest()}"
    data[len(data) // 2] ^= 1
    s3.client().put_object(Bucket=store.bucket, Key=key, Body=bytes(data))
    proxy.seen.clear()
    with pytest.raises(CuhsError, match=rf"object [0-9a-f]{{64}} \({name}\) is damaged; push its tree again"):
        store.pull(digest, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    whole = [request for request in proxy.seen if request.method == "GET" and key in request.path]
    assert len(whole) == 2 * (3 if name == "large" else 1)
    assert store.push(tree) == digest
    store.pull(digest, tmp_path / "target")
    assert content(tmp_path / "target") == content(tree)


def test_an_object_that_is_gone_is_named(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    digest = store.push(tree)
    key = sha256((tree / "a.bin").read_bytes()).hexdigest()
    s3.client().delete_object(Bucket=store.bucket, Key=f"cuhs/objects/{key}")
    with pytest.raises(CuhsError, match=f"object {key} is gone; push its tree again"):
        store.pull(digest, tmp_path / "target")


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "a/../../outside", "a\\..\\..\\outside"])
def test_a_hostile_manifest_writes_nothing(path: str, s3: Seaweed, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    (tmp_path / "evil").write_text("evil")
    store.push(tmp_path / "evil")
    entry = {"path": path, "sha256": sha256(b"evil").hexdigest(), "size": 4}
    manifest = json.dumps({"files": [entry]}, sort_keys=True, separators=(",", ":")).encode()
    digest = sha256(manifest).hexdigest()
    s3.client().put_object(Bucket=store.bucket, Key=f"cuhs/trees/{digest}.json", Body=manifest)
    before = content(tmp_path)
    with pytest.raises(CuhsError, match="refused, "):
        store.pull(digest, tmp_path / "target")
    assert content(tmp_path) == before


def test_parts_that_fail_in_passing_are_sent_again(proxy: Proxy, tree: Path, tmp_path: Path) -> None:
    def rule(request):
        if request.is_part and request.before < 3:
            return 500
        if request.method == "GET" and request.is_object and request.before == 0:
            return 503
        return None

    proxy.rule = rule
    store = ObjectStore.from_environment()
    told: list[tuple[int, int]] = []
    digest = store.push(tree, lambda *position: told.append(position))
    assert sum(request.is_part for request in proxy.seen) > 9
    assert told[-1][0] == told[-1][1]
    store.pull(digest, tmp_path / "target")
    assert content(tmp_path / "target") == content(tree)


def test_denied_parts_end_the_push_in_one_line(
    proxy: Proxy, s3: Seaweed, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.rule = lambda request: 403 if request.is_part else None
    store = ObjectStore.from_environment()
    with pytest.raises(CuhsError, match=r"access denied by .*; the key needs to list, read, write and delete there"):
        store.push(tree)
    assert unfinished_uploads(s3, store) == []
    assert store.trees() == []


def test_a_server_that_takes_no_manifest_has_no_tree(proxy: Proxy, tree: Path) -> None:
    proxy.rule = lambda request: 500 if request.method == "PUT" and "/trees/" in request.path else None
    store = ObjectStore(os.environ["CUHS_STORE"], patience_s=1)
    with pytest.raises(CuhsError, match=r"refused \(.*500"):
        store.push(tree / "b")
    proxy.rule = lambda request: None
    assert store.trees() == []


def test_a_server_that_says_yes_and_keeps_nothing_is_found_out(proxy: Proxy, tree: Path) -> None:
    proxy.rule = lambda request: 200 if request.method == "PUT" and request.is_object else None
    with pytest.raises(CuhsError, match=r"objects/[0-9a-f]{64}: not what was sent of .*"):
        ObjectStore.from_environment().push(tree / "a.bin")


def test_a_server_without_checksums_is_asked_for_the_bytes(proxy: Proxy, s3: Seaweed, tree: Path) -> None:
    store = ObjectStore.from_environment()
    key = f"cuhs/objects/{sha256((tree / 'a.bin').read_bytes()).hexdigest()}"
    s3.client().put_object(Bucket=store.bucket, Key=key, Body=(tree / "a.bin").read_bytes())
    store.push(tree / "a.bin")
    assert (proxy.count("GET"), proxy.count("PUT")) == (1, 0)
    s3.client().put_object(Bucket=store.bucket, Key=key, Body=noise(1000, 8))
    store.push(tree / "a.bin")
    assert (proxy.count("GET"), proxy.count("PUT")) == (2, 1)


def test_bytes_damaged_on_the_way_are_fetched_once_more(proxy: Proxy, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    digest = store.push(tree)

    def damage(body: bytes) -> bytes:
        return body[:-1] + bytes([body[-1] ^ 1])

    def get(request) -> bool:
        return request.method == "GET" and request.is_object

    proxy.rule = lambda request: damage if get(request) and request.before == 0 else None
    proxy.seen.clear()
    store.pull(digest, tmp_path / "target")
    assert content(tmp_path / "target") == content(tree)
    proxy.rule = lambda request: damage if get(request) else None
    with pytest.raises(CuhsError, match="is damaged; push its tree again"):
        store.pull(digest, tmp_path / "other")
    assert not (tmp_path / "other").exists()
