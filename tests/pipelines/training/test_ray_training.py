import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError

from pipelines.training import ray_training


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
