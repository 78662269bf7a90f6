"""Entries that wait on disk."""

import multiprocessing
from pathlib import Path
from typing import Any

from pipelines.tracking.outbox import Outbox


class Receiver:
    """Takes entries while it is ``here``."""

    def __init__(self, here: bool = True) -> None:
        self.here = here
        self.got: list[Any] = []

    def __call__(self, entry: dict[str, Any]) -> None:
        if not self.here:
            raise ConnectionError("away")
        self.got.append(entry)


def test_entries_come_in_order_and_leave_nothing_behind(tmp_path: Path) -> None:
    outbox, receiver = Outbox(tmp_path / "box"), Receiver()
    for number in range(12):
        outbox.put({"number": number})
    assert outbox.deliver(receiver) is None
    assert [entry["number"] for entry in receiver.got] == list(range(12))
    assert not (tmp_path / "box").exists()


def test_an_empty_box_sends_nothing(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "box").deliver(Receiver(here=False)) is None


def test_what_fails_stays_with_all_after_it_for_the_next_process(tmp_path: Path) -> None:
    outbox, receiver = Outbox(tmp_path / "box"), Receiver(here=False)
    outbox.put({"number": 0})
    assert isinstance(outbox.deliver(receiver), ConnectionError)
    outbox.put({"number": 1})
    again = Outbox(tmp_path / "box")
    assert [entry["number"] for entry in again.pending()] == [0, 1]
    receiver.here = True
    assert again.deliver(receiver) is None
    assert [entry["number"] for entry in receiver.got] == [0, 1]


def test_a_kept_folder_goes_with_its_entry(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.json").write_text("first")
    outbox = Outbox(tmp_path / "box")
    outbox.put({"path": str(folder)})
    outbox.deliver(Receiver(here=False))
    (folder / "a.json").write_text("second")
    seen = []
    outbox.deliver(lambda entry: seen.append((Path(entry["path"]).name, Path(entry["path"], "a.json").read_text())))
    assert seen == [("model", "first")]
    assert not (tmp_path / "box").exists()


def test_a_kept_file_is_as_it_was_when_delivery_failed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text("first")
    outbox = Outbox(tmp_path / "box")
    outbox.put({"path": str(file)})
    outbox.deliver(Receiver(here=False))
    file.unlink()
    outbox.deliver(Receiver(here=False))
    content = []
    assert outbox.deliver(lambda entry: content.append(Path(entry["path"]).read_text())) is None
    assert content == ["first"]


def _put_many(folder: Path, name: str) -> None:
    for number in range(20):
        Outbox(folder).put({"from": name, "number": number})


def test_two_processes_share_a_box_without_loss(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_put_many, args=(tmp_path / "box", name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    receiver = Receiver()
    assert Outbox(tmp_path / "box").deliver(receiver) is None
    for name in "ab":
        assert [entry["number"] for entry in receiver.got if entry["from"] == name] == list(range(20))
