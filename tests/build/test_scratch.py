"""A build that was killed goes on, and ends with the same bytes as one that was not."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cuhs import images
from cuhs.build import decode as inspection
from cuhs.build import gather as checking
from cuhs.build import scratch
from cuhs.build.decode import decode_images
from cuhs.build.packing import PlannedShard, pack
from cuhs.errors import CuhsError
from cuhs.raw.config import Source

Market = Callable[[Path], Source]
Built = Callable[..., dict]


class Killed(BaseException):
    """As a signal would end the process: nothing catches it."""


def kill_after(count: int, step: Callable) -> Callable:
    """A mapper that works off ``count`` tasks of a step and dies."""

    def mapper(function: Callable, tasks: Sequence[Any]) -> Iterator[Any]:
        for done, task in enumerate(tasks):
            if function is step and done == count:
                raise Killed
            yield function(task)

    return mapper


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The contents that were decoded, in order; batches are of two images."""
    seen: list[bytes] = []

    def load(data: bytes) -> images.Encoded:
        seen.append(data)
        return images.load(data)

    monkeypatch.setattr(checking, "BATCH", 2)
    monkeypatch.setattr(inspection, "load", load)
    return seen


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_checked_before_a_kill_are_not_decoded_again(
    tmp_path: Path, market: Market, built: Built, decoded: list[bytes]
) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(3, decode_images))
    assert len(decoded) == 6 and not (tmp_path / "out").exists()
    built({"m": source}, mapper=map)
    assert len(decoded) == 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]
    built({"m": source}, "undisturbed", mapper=map)
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


def test_shards_filled_before_a_kill_are_not_filled_again(tmp_path: Path, market: Market, built: Built) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(2, pack))
    filled: list[str] = []

    def mapper(function: Callable, tasks: Sequence[Any]) -> Iterator[Any]:
        filled.extend(task.file for task in tasks if isinstance(task, PlannedShard))
        return map(function, tasks)

    built({"m": source}, mapper=mapper)
    assert filled == ["gallery/m-00000.parquet"]
    built({"m": source}, "undisturbed")
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


def test_a_file_that_changed_since_the_kill_is_decoded_again(
    tmp_path: Path, market: Market, built: Built, decoded: list[bytes]
) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(0, pack))
    first = source.folder / "bounding_box_train/0001_c1s1_000001_01.jpg"
    first.write_bytes((source.folder / "bounding_box_train/0002_c1s1_000001_01.jpg").read_bytes())
    decoded.clear()
    built({"m": source}, mapper=map)
    assert decoded == [first.read_bytes()]


def test_half_a_line_of_the_journal_costs_one_image(
    tmp_path: Path, market: Market, built: Built, decoded: list[bytes]
) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(0, pack))
    (journal,) = (tmp_path / "out.unfinished").glob("*/checked.jsonl")
    journal.write_bytes(journal.read_bytes()[:-40])
    for decoded_again in (1, 0):
        decoded.clear()
        with pytest.raises(Killed):
            built({"m": source}, mapper=kill_after(0, pack))
        assert len(decoded) == decoded_again


def test_other_code_starts_afresh(
    tmp_path: Path, market: Market, built: Built, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(2, pack))
    decoded.clear()
    monkeypatch.setattr(scratch, "_code_version", lambda: "f" * 64)
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(2, pack))
    assert len(decoded) == 11
    assert len(list((tmp_path / "out.unfinished/ffffffffffffffff").glob("*.parquet"))) == 2


def test_a_folder_that_is_gone_from_a_worker_is_an_error_and_no_quarantine(
    tmp_path: Path, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")

    def elsewhere(function: Callable, tasks: Sequence[Any]) -> Iterator[Any]:
        source.folder.rename(tmp_path / "unmounted")
        return map(function, tasks)

    with pytest.raises(CuhsError, match=r"raw: not there on every node; put data\.raw where all nodes can read it"):
        built({"m": source}, mapper=elsewhere)


def test_of_two_builds_in_one_folder_the_second_says_who_is_at_work(
    tmp_path: Path, market: Market, built: Built
) -> None:
    source = market(tmp_path / "raw")

    def beside(function: Callable, tasks: Sequence[Any]) -> Iterator[Any]:
        with pytest.raises(
            CuhsError, match=rf"out\.unfinished: another build is at work here \(process {os.getpid()} on "
        ):
            built({"m": source})
        return map(function, tasks)

    built({"m": source}, mapper=beside)
    # Freed with its end, however it ended.
    with pytest.raises(Killed):
        built({"m": source}, "again", mapper=kill_after(0, pack))
    built({"m": source}, "again")
    assert tree(tmp_path / "out") == tree(tmp_path / "again")


@pytest.mark.parametrize(
    "line", ["[]", "{}", "3", '["m", "a.jpg", {"no": 1}]', '["m", "a.jpg", 7]', "null", "[[1], 2]"]
)
def test_a_damaged_line_of_a_journal_stops_no_build(tmp_path: Path, market: Market, built: Built, line: str) -> None:
    source = market(tmp_path / "raw")
    with pytest.raises(Killed):
        built({"m": source}, mapper=kill_after(0, pack))
    for name in ("checked", "detected"):
        (journal,) = (tmp_path / "out.unfinished").glob(f"*/{name}.jsonl")
        journal.write_text(f"{line}\n" + journal.read_text())
    assert built({"m": source})["splits"]["query"]["images"] == 2
