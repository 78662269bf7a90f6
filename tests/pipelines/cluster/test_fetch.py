"""What may come home from a job, and what a job may be told, whoever wrote it."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cuhs.errors import CuhsError
from pipelines.cluster import job
from pipelines.cluster.fetch import fetch
from pipelines.storage.trees import Entry, Tree, files_of, make_tree, replace, sums
from pipelines.tracking.outbox import Outbox

NAME = "cuhs-train-0123456789abcdef-1"
KEY = "0123456789abcdef" * 2
OUTPUTS = ("models/cuhs", "models/run.json")


class MemoryStore:
    """An object store in this process."""

    url = "s3://bucket/cuhs"

    def __init__(self, held: dict[str, dict[str, tuple[Tree, dict[str, bytes]]]] | None = None, at: str = "") -> None:
        self.held = {} if held is None else held
        self.at = at

    def within(self, *names: str) -> "MemoryStore":
        return MemoryStore(self.held, "/".join((self.at, *names)))

    def push(self, path: Path, progress: Any = None) -> str:
        files = files_of(path)
        tree = make_tree(Entry(name, sums(file).size, sums(file).sha256) for name, file in files)
        self.held.setdefault(self.at, {})[tree.digest] = tree, {name: file.read_bytes() for name, file in files}
        return tree.digest

    def trees(self) -> list[str]:
        return sorted(self.held.get(self.at, {}))

    def pull(self, digest: str, target: Path, progress: Any = None) -> None:
        tree, data = self.held[self.at][digest]
        partial = target.with_name(f".{target.name}.part")
        for entry, place in tree.places(partial):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data[entry.path])
        replace(partial, target)

    def delete(self) -> None:
        self.held.pop(self.at, None)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    project = tmp_path / "project"
    (project / ".git/hooks").mkdir(parents=True)
    monkeypatch.chdir(project)
    return MemoryStore()


def made(store: MemoryStore, tmp_path: Path, *paths: str) -> None:
    """A job says that it made these."""
    (tmp_path / "hostile").write_text("#!/bin/sh\n")
    digest = store.push(tmp_path / "hostile")
    job.write_results(store, NAME, dict.fromkeys(paths, digest))  # type: ignore[arg-type]


def bring(store: MemoryStore) -> None:
    fetch(store, NAME, OUTPUTS, lambda label: nullcontext(lambda done, total: None))  # type: ignore[arg-type]


def written(tmp_path: Path) -> set[str]:
    return {
        str(path.relative_to(tmp_path / "project")) for path in (tmp_path / "project").rglob("*") if path.is_file()
    }


def test_outputs_come_home_and_are_forgotten_there(store: MemoryStore, tmp_path: Path) -> None:
    made(store, tmp_path, "models/run.json")
    bring(store)
    assert Path("models/run.json").read_text() == "#!/bin/sh\n"
    with pytest.raises(CuhsError, match="its outputs are not in s3://bucket/cuhs"):
        bring(store)


@pytest.mark.parametrize(
    "path",
    [
        *("../elsewhere", "models/../../elsewhere", ".git/hooks/post-checkout", "Makefile", "dvc.py", ".dvc/config"),
        *("models", "models/cuhs/../../Makefile", "runs/outbox/x", "models/hsl", ".", ""),
    ],
)
def test_what_the_stage_does_not_make_is_not_fetched_and_nothing_else_either(
    path: str, store: MemoryStore, tmp_path: Path
) -> None:
    made(store, tmp_path, "models/run.json", path)
    with pytest.raises(CuhsError, match=r"^cuhs-train-\S+: its results in s3://\S+ hold '.*', which its stage"):
        bring(store)
    assert written(tmp_path) == set() and not (tmp_path / "elsewhere").exists()


def test_an_absolute_path_is_not_written(store: MemoryStore, tmp_path: Path) -> None:
    made(store, tmp_path, str(tmp_path / "elsewhere"))
    with pytest.raises(CuhsError, match="which its stage does not make"):
        bring(store)
    assert not (tmp_path / "elsewhere").exists()


def test_an_output_behind_a_link_that_leads_outside_is_not_written(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path("models").symlink_to(tmp_path / "elsewhere")
    made(store, tmp_path, "models/run.json")
    with pytest.raises(CuhsError, match="a link on the way leads outside"):
        bring(store)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("text", ["[", "[]", "null", '{"models/cuhs": 1}', "\x00"])
def test_damaged_results_are_one_line(text: str, store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / job.RESULTS).write_text(text)
    store.within("jobs", NAME).push(tmp_path / job.RESULTS)
    with pytest.raises(CuhsError, match=f"^{NAME}: its results are damaged"):
        bring(store)


def test_the_outbox_that_comes_home_joins_the_one_that_is_here(
    store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Outbox(Path("runs/outbox") / ("f" * 32)).put({"do": "reopen"})
    there = tmp_path / "there"
    Outbox(there / KEY).put({"do": "finish"})
    Outbox(there / KEY).put({"do": "artifacts", "path": str(tmp_path / "secret"), "folder": None})
    (there / "post-checkout").write_text("")
    (tmp_path / "secret").write_text("mine")
    job.write_results(store, NAME, {"runs/outbox": store.push(there)})  # type: ignore[arg-type]
    bring(store)
    boxes = {path.name: [entry["do"] for entry in Outbox(path).pending()] for path in Path("runs/outbox").iterdir()}
    assert boxes == {"f" * 32: ["reopen"], KEY: ["finish"]}
    assert len(caplog.messages) == 2 and "post-checkout" in caplog.text and "secret" in caplog.text
    assert [path.name for path in Path("runs").iterdir()] == ["outbox"]


def order(**changes: Any) -> str:
    values: dict[str, Any] = {"stage": "train", "inputs": {"data/dataset": "d1"}, "outputs": ["models/cuhs"]}
    values |= {"store": "s3://bucket/cuhs", "tracking": "http://127.0.0.1:5000", "commit": {"id": "c"}}
    return json.dumps(values | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "ORDER: not a job's order") for text in ("{", "[]", "{}", "null", order(more=1), order(inputs=3))),
        *(
            (order(**changes), "ORDER: not a job's order .*; submit the stage again$")
            for changes in (
                {"x" * 10**6: 1},
                {"inputs": {"a": 3}},
                {"outputs": ["a", 3]},
                {"commit": {"id": []}},
                {"store": "x" * 10**6, "tracking": 3},
            )
        ),
        ("[" * 100_000, "ORDER: not a job's order"),
        (order(stage="x" * 10**6), "does not run on a cluster"),
        (order(stage="os"), "ORDER: 'os' does not run on a cluster; there are pretrain_hsl, train"),
        (order(stage="../x"), r"ORDER: '\.\./x' does not run on a cluster"),
        (order(inputs={"../x": "d"}), r"'\.\./x': refused, its path leaves"),
        (order(outputs=["/etc/x"]), "'/etc/x': refused, its path leaves"),
        (order(inputs={".git/config": "d"}), "refused, its path is git's own"),
    ],
)
def test_an_order_that_is_none_is_one_line(text: str, message: str) -> None:
    with pytest.raises(CuhsError, match=message) as caught:
        job.read(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
