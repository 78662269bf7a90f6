"""What is started anew after a failure; tests/system/test_checkpoint_store.py kills it for real."""

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError

from cuhs.errors import CuhsError
from pipelines.training.ray_training import Anew, ControllerLost, anew

FELL, LOST = ControllerError(OSError("no disk")), ControllerLost("train-1: broken off")


@pytest.mark.parametrize(
    ("error", "failed", "most", "expected"),
    [
        (FELL, 0, 2, Anew.CONTROLLER),
        (FELL, 1, 2, Anew.CONTROLLER),
        (FELL, 2, 2, None),
        (FELL, 0, 0, None),
        (FELL, 9, -1, Anew.CONTROLLER),
        (LOST, 0, 1, Anew.RAY),
        (LOST, 1, 1, None),
        (LOST, 9, -1, Anew.RAY),
        # Ray has started the workers anew as often as it may.
        (WorkerGroupError("killed", {}), 0, 2, None),
        # Of the process that drives them: it becomes a `ControllerLost`.
        (RayActorError(), 0, 2, None),
        (CuhsError("the loss is not finite"), 0, 2, None),
        (KeyboardInterrupt(), 0, 2, None),
    ],
)
def test_what_drives_the_workers_is_started_anew_as_often_as_is_allowed_and_nothing_else_is(
    error: BaseException, failed: int, most: int, expected: Anew | None
) -> None:
    assert anew(error, failed, most) is expected
