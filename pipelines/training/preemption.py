"""What happens when a machine, or the stage itself, is told that it has to go.

Where Ray drains a node, a checkpoint is saved at once, and training goes on until the node is gone. Where the stage
gets SIGTERM, a checkpoint is saved and the training ends. Either way all workers hear of it after the same step.
"""

import time
from typing import Any


class Notices:
    """What the workers of a training hear; each of them asks after each of its steps.

    Ray's own question is a barrier, and the workers have to agree on a step. So they ask every few steps only, about
    every :data:`EVERY_S` seconds, or so seldom that it takes :data:`SHARE` of the time; the first worker says after
    how many steps.

    Args:
        board: the actor that knows whether the stage got SIGTERM.
        rank: of this worker.

    Attributes:
        stop: whether the training has to end.
    """

    EVERY_S = 2.0
    SHARE = 0.1

    def __init__(self, board: Any, rank: int) -> None:
        self._board, self._rank = board, rank
        self._nodes: set[str] = set()
        self._pause = self._left = 1
        self._since, self._cost = time.monotonic(), 0.0
        self.stop = False

    def new(self) -> bool:
        """Whether there is one that was not there before: the same answer on all workers."""
        self._left -= 1
        if self._left:
            return False
        import ray.train
        from ray.train.collective import broadcast_from_rank_zero

        asked = time.monotonic()
        info = ray.train.get_preemption_info()
        nodes = set(info.preempted_node_ids if info else ())
        answer = (self._told(), self._steps(asked - self._since)) if self._rank == 0 else None
        stop, self._left = broadcast_from_rank_zero(answer)
        new = (stop and not self.stop) or not nodes <= self._nodes
        self._nodes, self.stop, self._pause = self._nodes | nodes, stop, self._left
        self._since = time.monotonic()
        self._cost = self._since - asked
        return new

    def _told(self) -> bool:
        import ray

        try:
            return bool(ray.get(self._board.stopped.remote(), timeout=self.EVERY_S))
        except Exception:  # the board is no reason for a training to fail
            return False

    def _steps(self, took: float) -> int:
        """Until the next question, where those since the last one took so long.

        At most twice as many as before, as the first ones tell little of a GPU's pace.
        """
        seconds = max(self.EVERY_S, self._cost / self.SHARE)
        return max(1, min(2 * self._pause, round(seconds * self._pause / max(took, 1e-6))))
