"""The object store and the machines' cache against a real S3 server: faults on the way, kills, full disks."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import botocore.auth
import numpy as np
import pytest

from cuhs.errors import CuhsError
from infra.local.seaweed import Seaweed, free_ports
from pipelines.storage.object_store import ObjectStore
from tests.system.proxy import Proxy, running

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
MIB = 2**20


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files in folders, an empty one, and one of three parts."""
    root = tmp_path / "tree"
    files = {"a.bin": noise(1000, 1), "b/c/ü ß.bin": noise(70_000, 2), "b/empty": b"", "large": noise(40 * MIB, 3)}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def proxy(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands between the store and its server."""
    with running(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def unfinished_uploads(s3: Seaweed, store: ObjectStore) -> list[Any]:
    return s3.client().list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


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


def test_a_server_killed_in_the_middle_of_a_push_is_waited_for(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    (tree / "larger").write_bytes(noise(64 * MIB, 5))
    store = ObjectStore.from_environment()
    killed = threading.Event()

    def restart() -> None:
        killed.wait(60)
        s3.stop()
        s3.start()

    thread = threading.Thread(target=restart)
    thread.start()
    digest = store.push(tree, lambda done, total: killed.set() if done > total / 2 else None)
    assert killed.is_set()
    thread.join()
    assert unfinished_uploads(s3, store) == []
    store.pull(digest, tmp_path / "target")
    assert content(tmp_path / "target") == content(tree)


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.storage.object_store import ObjectStore

def die(done, total):
    if done > total * float(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

store = ObjectStore.from_environment()
if sys.argv[1] == "push":
    store.push(Path(sys.argv[2]), die)
else:
    store.pull(sys.argv[1], Path(sys.argv[2]), die)
"""


def test_a_killed_push_leaves_no_parts_after_the_next(s3: Seaweed, tree: Path) -> None:
    store = ObjectStore.from_environment()
    process = python(KILLED, "push", str(tree), "0.6")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, out
    assert unfinished_uploads(s3, store)
    assert store.trees() == []
    assert store.holds(store.push(tree))
    assert unfinished_uploads(s3, store) == []


def test_a_killed_pull_goes_on_with_what_it_has(proxy: Proxy, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    root.mkdir()
    for number in range(12):
        (root / f"{number:02d}").write_bytes(noise(2 * MIB, number))
    store = ObjectStore.from_environment()
    digest = store.push(root)
    process = python(KILLED, digest, str(tmp_path / "target"), "0.6")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, out
    assert not (tmp_path / "target").exists()
    proxy.seen.clear()
    store.pull(digest, tmp_path / "target")
    assert 1 <= proxy.count("GET") <= 9
    assert content(tmp_path / "target") == content(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "target"]


def test_two_pushes_at_once_both_succeed(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom pipelines.storage.object_store import ObjectStore\n"
    code += "print(ObjectStore.from_environment().push(Path(sys.argv[1])))"
    outs = [process.communicate(timeout=60)[0] for process in [python(code, str(tree)) for _ in range(2)]]
    store = ObjectStore.from_environment()
    assert [out.splitlines()[-1] for out in outs] == 2 * store.trees()
    assert unfinished_uploads(s3, store) == []
    store.pull(store.trees()[0], tmp_path / "target")
    assert content(tmp_path / "target") == content(tree)


def test_a_full_disk_is_one_line(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore.from_environment()
    digest = store.push(tree)
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom cuhs.errors import CuhsError\n"
        "from pipelines.storage.object_store import ObjectStore\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MIB}, {MIB}))\n"
        "try:\n    ObjectStore.from_environment().pull(*sys.argv[1:2], Path(sys.argv[2]))\n"
        "except CuhsError as error:\n    print(error)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    out, _ = python(code, digest, str(tmp_path / "target")).communicate(timeout=60)
    assert out.strip().splitlines()[-1].endswith("the disk is full; make room and run the command again"), out
    assert not (tmp_path / "target").exists()


def test_a_full_file_system_is_one_line(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system of its own needs root: {mounted.stderr.decode().strip()}")
    try:
        store = ObjectStore.from_environment()
        digest = store.push(tree)
        with pytest.raises(CuhsError, match=r"the disk is full; 0.04 GB needed, 0.01 GB free"):
            store.pull(digest, small / "target")
        (small / "filler").write_bytes(noise(8 * MIB - 16384))
        with pytest.raises(CuhsError, match="the disk is full"):
            store.pull(store.push(tree / "b"), small / "target")
        assert not (small / "target").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_missing_bucket_is_one_line(s3: Seaweed, tree: Path, tmp_path: Path) -> None:
    store = ObjectStore("s3://nowhere/cuhs")
    message = r"^s3://nowhere/cuhs: there is no bucket 'nowhere' at http\S+; create it or correct CUHS_STORE$"
    for call in (lambda: store.push(tree), lambda: store.pull("0" * 64, tmp_path / "x"), lambda: store.holds("00")):
        with pytest.raises(CuhsError, match=message):
            call()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_one_line(
    name: str, value: str, code: str, s3: Seaweed, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    store = ObjectStore.from_environment()
    for call in (lambda: store.push(tree), lambda: store.pull("0" * 64, tmp_path / "x"), lambda: store.trees()):
        with pytest.raises(CuhsError, match=rf"does not accept the credentials \({code}\)") as caught:
            call()
        assert "\n" not in str(caught.value) and value not in str(caught.value).replace(code, "")


def test_no_credentials_are_one_line(s3: Seaweed, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CuhsError, match=r"no credentials .*; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        ObjectStore.from_environment().push(tree)


def test_a_clock_that_is_wrong_is_one_line(s3: Seaweed, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - timedelta(hours=3))
    with pytest.raises(CuhsError, match=r"this machine's clock and that of .* differ \(RequestTimeTooSkewed\)"):
        ObjectStore.from_environment().push(tree)


def test_a_server_that_is_away_is_one_line(s3: Seaweed, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    store = ObjectStore(os.environ["CUHS_STORE"], patience_s=1)
    began = time.monotonic()
    with pytest.raises(CuhsError, match=r"no answer from http://127.0.0.1:\d+ .*is the server up\?$"):
        store.push(tree)
    assert time.monotonic() - began < 60


CACHED = """
import sys, time
from pathlib import Path
from pipelines.storage.node_cache import NodeCache
from pipelines.storage.object_store import ObjectStore

with NodeCache(ObjectStore.from_environment(), Path(sys.argv[2])).use(sys.argv[1]) as root:
    print(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()))
"""


def test_ten_processes_on_a_machine_fetch_once(proxy: Proxy, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    root.mkdir()
    for number in range(6):
        (root / f"{number}.parquet").write_bytes(noise(3 * MIB, number))
    digest = ObjectStore.from_environment().push(root)
    proxy.seen.clear()
    processes = [python(CACHED, digest, str(tmp_path / "cache")) for _ in range(10)]
    outs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert outs == 10 * [str(18 * MIB)]
    assert proxy.count("GET") == 6

    (shard,) = (tmp_path / "cache").glob("trees/*/3.parquet")
    before = shard.stat()
    shard.write_bytes(noise(3 * MIB, 9))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert python(CACHED, digest, str(tmp_path / "cache")).communicate(timeout=60)[0].strip() == str(18 * MIB)
    assert shard.read_bytes() == noise(3 * MIB, 3)
    assert proxy.count("GET") == 7
