"""The object store and the machines' cache when something is killed, full or wrong."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest

from cuhs.errors import CuhsError
from infra.local.seaweed import Seaweed, free_ports
from pipelines.storage.object_store import ObjectStore
from tests.system.proxy import Proxy
from tests.system.stored_files import MIB, content, noise, unfinished_uploads

pytestmark = [pytest.mark.system, pytest.mark.long]

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_server_killed_in_the_middle_of_a_push_is_waited_for(
    losing_s3: Seaweed, tree: Path, tmp_path: Path
) -> None:
    (tree / "larger").write_bytes(noise(64 * MIB, 5))
    store = ObjectStore.from_environment()
    killed = threading.Event()

    def restart() -> None:
        killed.wait(60)
        losing_s3.stop()
        losing_s3.start()

    thread = threading.Thread(target=restart)
    thread.start()
    digest = store.push(tree, lambda done, total: killed.set() if done > total / 2 else None)
    assert killed.is_set()
    thread.join()
    assert unfinished_uploads(losing_s3, store) == []
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
