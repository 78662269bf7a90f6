"""Notices that a machine, or the stage itself, has to stop.

If Ray drains a node, a checkpoint is saved at once, and training continues until the node is gone. If the stage gets
SIGTERM, a checkpoint is saved and the training ends. Either way, all workers learn of it after the same step.
"""

import time

from pipelines.training.board import Post
from pipelines.training.team import Team


class Notices:
    """Tells a training's workers of such notices; each worker calls :meth:`new` after each step.

    Asking Ray is a barrier for all workers, and they must agree on the step. So they ask only every few steps: about
    every :data:`EVERY_S` seconds, or less often if asking would take more than :data:`SHARE` of the time. The first
    worker decides after how many steps.

    Args:
        board: the board that knows whether the stage got SIGTERM.
        team: this worker's place among all.

    Attributes:
        stop: whether the training has to end.
    """

    EVERY_S = 2.0
    SHARE = 0.1

    def __init__(self, board: Post, team: Team) -> None:
        self._board, self._team = board, team
        self._nodes: set[str] = set()
        self._pause = self._left = 1
        self._since, self._cost = time.monotonic(), 0.0
        self.stop = False

    def new(self) -> bool:
        """Whether there is a new notice; all workers get the same answer."""
        self._left -= 1
        if self._left:
            return False
        asked = time.monotonic()
        nodes = self._team.leaving()
        answer = (self._told(), self._steps(asked - self._since)) if self._team.rank == 0 else (False, 0)
        stop, self._left = self._team.from_first(answer)
        new = (stop and not self.stop) or not nodes <= self._nodes
        self._nodes, self.stop, self._pause = self._nodes | nodes, stop, self._left
        self._since = time.monotonic()
        self._cost = self._since - asked
        return new

    def _told(self) -> bool:
        try:
            return bool(self._board.ask("stopped"))
        except Exception:  # a failure of the board must not end the training
            return False

    def _steps(self, took: float) -> int:
        """The number of steps until the next question, given the seconds since the last one.

        At most twice as many as before, because the first steps say little about a GPU's speed.
        """
        seconds = max(self.EVERY_S, self._cost / self.SHARE)
        return max(1, min(2 * self._pause, round(seconds * self._pause / max(took, 1e-6))))
