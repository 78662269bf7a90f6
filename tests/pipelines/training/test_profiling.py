"""A profile covers the steps that were asked for, is bounded, and names no training."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.base import params
from pipelines.training import network
from pipelines.training.board import Direct, Profile
from pipelines.training.profiling import WARM_UP, Profiler

PARAMS = Path(__file__).parents[3] / "params.yaml"


def epoch(profiler: Profiler, steps: int) -> None:
    with profiler:
        for _ in range(steps):
            torch.ones(8, 8) @ torch.ones(8, 8)
            profiler.step()


def profiled(board: Direct) -> tuple[Profile, list[dict[str, Any]]]:
    """What came, and the steps that its trace has."""
    profile = board.ask("take").profile
    events = json.loads(gzip.decompress(profile.trace))["traceEvents"]
    assert any(event.get("name") == "aten::mm" for event in events) and "aten::mm" in profile.table
    return profile, [event for event in events if str(event.get("name")).startswith("ProfilerStep#")]


@pytest.mark.parametrize(
    ("steps", "of_epoch", "found"), [(2, WARM_UP + 5, 2), (5, WARM_UP + 2, 2), (1, WARM_UP + 1, 1)]
)
def test_the_steps_after_the_first_few_are_profiled_until_the_epoch_ends(
    steps: int, of_epoch: int, found: int
) -> None:
    board = Direct()
    profiler = Profiler(steps, torch.device("cpu"), board)
    epoch(profiler, of_epoch)
    profile, in_trace = profiled(board)
    assert profile.steps == found
    # What comes between the last step and the epoch's end is in the trace as well.
    of_steps = {f"ProfilerStep#{WARM_UP + i}" for i in range(found)}
    assert of_steps <= {event["name"] for event in in_trace} <= {*of_steps, f"ProfilerStep#{of_epoch}"}
    epoch(profiler, of_epoch)
    assert board.ask("take").profile is None


def test_an_epoch_of_no_more_than_the_first_few_steps_says_so() -> None:
    board = Direct()
    epoch(Profiler(4, torch.device("cpu"), board), WARM_UP)
    news = board.ask("take")
    assert news.profile is None
    assert news.lines == ["train.profile: no step is left to profile after 3 to warm up"]


def test_nothing_is_profiled_unless_asked() -> None:
    board = Direct()
    epoch(Profiler(0, torch.device("cpu"), board), WARM_UP + 4)
    assert board.ask("take").profile is None


def test_after_an_epoch_that_broke_off_another_can_be_profiled() -> None:
    board = Direct()
    broken = Profiler(4, torch.device("cpu"), board)
    with pytest.raises(OSError, match="lost"), broken:
        for _ in range(WARM_UP + 1):
            broken.step()
        raise OSError("lost")
    assert board.ask("take").profile is None
    epoch(Profiler(2, torch.device("cpu"), board), WARM_UP + 2)
    assert profiled(board)[0].steps == 2


def test_a_training_that_is_profiled_has_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: list[str] = []
    for name in ("data_version", "code_version", "file_version", "load_hsl", "CUHS"):
        monkeypatch.setattr(network, name, lambda *_: "same")
    monkeypatch.setattr(network, "_train", lambda p, net, name, data: names.append(name))
    base = params.load(PARAMS)
    for values in ({}, {"train.profile": 9}, {"train.eta_1": 0.5}):
        network.train_network(params.with_values(base, values))
    assert names[0] == names[1] != names[2]
