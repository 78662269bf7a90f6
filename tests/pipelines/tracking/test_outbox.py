"""Entries that wait on disk."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking.outbox import Outbox, take_in


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
        outbox.put({"do": "note", "number": number})
    assert outbox.deliver(receiver) is None
    assert [entry["number"] for entry in receiver.got] == list(range(12))
    assert not (tmp_path / "box").exists()


def test_an_empty_box_sends_nothing(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "box").deliver(Receiver(here=False)) is None


def test_what_fails_stays_with_all_after_it_for_the_next_process(tmp_path: Path) -> None:
    outbox, receiver = Outbox(tmp_path / "box"), Receiver(here=False)
    outbox.put({"do": "note", "number": 0})
    assert isinstance(outbox.deliver(receiver), ConnectionError)
    outbox.put({"do": "note", "number": 1})
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
    outbox.put({"do": "note", "path": str(folder)})
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
    outbox.put({"do": "note", "path": str(file)})
    outbox.deliver(Receiver(here=False))
    file.unlink()
    outbox.deliver(Receiver(here=False))
    content = []
    assert outbox.deliver(lambda entry: content.append(Path(entry["path"]).read_text())) is None
    assert content == ["first"]


KEY = "0123456789abcdef" * 2


@pytest.fixture
def came(tmp_path: Path) -> Path:
    """An outbox of another machine with a kept model, at another place than where it was filled."""
    there = tmp_path / "there/outbox"
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a.json").write_text("weights")
    box = Outbox(there / KEY)
    box.put({"do": "tags", "tags": {"a": "b"}})
    box.put({"do": "artifacts", "path": str(tmp_path / "model"), "folder": "model"})
    box.deliver(Receiver(here=False))
    shutil.rmtree(tmp_path / "model")
    return (tmp_path / "there").rename(tmp_path / "moved") / "outbox"


def test_an_outbox_that_comes_home_is_sent_after_what_waits_there(came: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    Outbox(home / KEY).put({"do": "reopen"})
    take_in(came, home)
    sent: list[tuple[str, str]] = []

    def send(entry: dict[str, Any]) -> None:
        sent.append((entry["do"], Path(entry["path"], "a.json").read_text() if "path" in entry else ""))

    assert Outbox(home / KEY).deliver(send) is None
    assert sent == [("reopen", ""), ("tags", ""), ("artifacts", "weights")]
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../secret", "000001/../../../../secret", "secret", "000000/secret", "000001", ""]
)
def test_a_file_of_this_machine_is_not_sent_for_an_entry_from_elsewhere(
    path: str, came: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for secret in (tmp_path / "secret", came / KEY / "secret"):
        secret.write_text("mine")
    (came / KEY / "000001.json").write_text(json.dumps({"do": "artifacts", "path": path, "folder": None}))
    take_in(came, tmp_path / "home")
    assert [entry["do"] for entry in Outbox(tmp_path / "home" / KEY).pending()] == ["tags"]
    assert len([line for line in caplog.messages if repr(path) in line]) == 1


def test_what_no_outbox_holds_stays_behind(came: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (came / "..hooks").mkdir()
    (came / "a.py").write_text("")
    for name, text in {
        "b.py": "",
        "1.json": "{}",
        "000002.json": "[",
        "000003.json": "[]",
        "000004.json": "{}",
    }.items():
        (came / KEY / name).write_text(text)
    take_in(came, tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [KEY]
    assert len(Outbox(tmp_path / "home" / KEY).pending()) == 2
    named = " ".join(caplog.messages)
    assert all(name in named for name in ("..hooks", "a.py", "b.py", "1.json", "000002", "000003", "000004"))
    assert len(caplog.messages) == 7


def test_a_path_in_an_entry_here_stays_in_its_outbox(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    box = Outbox(tmp_path / "box")
    box.put({"do": "artifacts", "path": "../secret"})
    receiver = Receiver()
    assert "leaves its folder" in str(box.deliver(receiver)) and not receiver.got


def _put_many(folder: Path, name: str) -> None:
    for number in range(20):
        Outbox(folder).put({"do": "note", "from": name, "number": number})


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


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"do": 3}', "\x00" * 40, "[" * 100_000])
def test_a_damaged_entry_is_set_aside_and_named_and_the_others_are_sent(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox, receiver = Outbox(tmp_path / "box"), Receiver()
    for number in range(3):
        outbox.put({"do": "note", "number": number})
    (tmp_path / "box/000001.json").write_text(content)
    assert [entry["number"] for entry in outbox.pending()] == [0, 2]
    assert "000001.json" in caplog.text and "set aside as" in caplog.text
    assert outbox.deliver(receiver) is None
    assert [entry["number"] for entry in receiver.got] == [0, 2]
    assert (tmp_path / "box/000001.damaged").read_text() == content
    # It is said once, and a new entry takes neither its place nor that of one that was sent.
    caplog.clear()
    outbox.put({"do": "note", "number": 3})
    assert outbox.deliver(receiver) is None and receiver.got[-1]["number"] == 3
    assert caplog.text == ""


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_set_aside_too(tmp_path: Path, make: Callable[[Path], None]) -> None:
    outbox, receiver = Outbox(tmp_path / "box"), Receiver()
    outbox.put({"do": "note", "number": 0})
    make(tmp_path / "box/000001.json")
    assert outbox.deliver(receiver) is None
    assert [entry["number"] for entry in receiver.got] == [0]
    assert (tmp_path / "box/000001.damaged").exists()
