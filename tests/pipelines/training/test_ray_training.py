from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError

from pipelines.base import params
from pipelines.training import ray_training
from pipelines.training.ray_training import ControllerLost

PARAMS = Path(__file__).parents[3] / "params.yaml"


class Falling:
    """What raises its failures one by one, and then gives a result."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def __call__(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def test_a_fallen_controller_is_started_again_as_often_as_is_allowed() -> None:
    def error() -> Exception:
        return ControllerError(OSError("no disk"))

    assert ray_training._with_new_controllers(Falling(error(), error()), "train-1", 2) == "done"
    with pytest.raises(ControllerError):
        ray_training._with_new_controllers(Falling(error(), error(), error()), "train-1", 2)
    assert ray_training._with_new_controllers(Falling(*(error() for _ in range(9))), "train-1", -1) == "done"


@pytest.mark.parametrize("failure", [WorkerGroupError("killed", {}), RayActorError()])
def test_other_failures_are_not_tried_again_here(failure: Exception) -> None:
    with pytest.raises(type(failure)):
        ray_training._with_new_controllers(Falling(failure), "train-1", 2)


def test_a_training_whose_controllers_are_all_killed_is_given_up_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def killed(*args: Any, **kwargs: Any) -> None:
        done.append("run")
        raise ControllerLost("train-1: broken off")

    monkeypatch.setattr(ray_training, "run_workers", killed)
    monkeypatch.setattr(ray_training, "start_ray", lambda: done.append("join"))
    monkeypatch.setattr(ray_training, "resources", lambda: ({"CPU": 2.0}, 2.0))
    monkeypatch.setattr("ray.shutdown", lambda: done.append("leave"))
    p = params.with_values(params.load(PARAMS), {"compute.max_failures": 1})
    make: Any = None
    with pytest.raises(ControllerLost):
        ray_training.train(make, p, {}, "train-1", make)
    assert done == ["join", "run", "leave", "join", "run"]
