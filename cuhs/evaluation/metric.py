"""Ranking as a metric object, fed batch by batch; merges the batches of all distributed processes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist

from cuhs.errors import CuhsError
from cuhs.evaluation.features import Features, Labels
from cuhs.evaluation.ranking import rank


class ReIDMetric:
    """mAP, mINP and CMC of all batches since the last :meth:`reset`.

    In a ``torch.distributed`` job every process feeds its own part, and :meth:`compute` ranks the whole
    on each process. Feed each image once: a sampler that repeats images to even out the parts adds them
    to the gallery a second time.

    Example:
        >>> import torch
        >>> metric = ReIDMetric(ranks=(1,))
        >>> metric.update(torch.tensor([[0.0], [5.0]]), [1, 2], [0, 0], is_query=True)
        >>> metric.update(torch.tensor([[1.0], [2.0], [4.0]]), [1, 3, 2], [1, 1, 1], is_query=False)
        >>> metric.compute()
        {'mAP': 100.0, 'mINP': 100.0, 'rank1': 100.0}
    """

    def __init__(self, ranks: Sequence[int] = (1, 5, 10), chunk_mb: float = 128) -> None:
        self.ranks = tuple(ranks)
        self.chunk_mb = chunk_mb
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._batches: list[tuple[Features, np.ndarray]] = []
        self._device = torch.device("cpu")

    def update(
        self, features: torch.Tensor, pids: Labels, camids: Labels, is_query: bool | torch.Tensor | np.ndarray
    ) -> None:
        """Add a batch.

        Args:
            features: (N, D) float.
            pids: (N,) int or str; a negative number marks a junk row.
            camids: (N,) int or str.
            is_query: (N,) bool, or one bool for the whole batch; rows that are no query are the gallery.

        Raises:
            CuhsError: the lengths differ, or labels are neither integers nor strings.
        """
        batch = Features(features.detach().float().cpu().numpy(), pids, camids)
        mask = np.asarray(is_query.cpu() if isinstance(is_query, torch.Tensor) else is_query, bool)
        if mask.ndim == 0:
            mask = np.full(len(batch), mask)
        if mask.shape != (len(batch),):
            raise CuhsError(f"is_query: {len(batch)} rows of features need as many, got {mask.shape}")
        self._device = features.device
        self._batches.append((batch, mask))

    def compute(self) -> dict[str, float]:
        """Return ``mAP``, ``mINP`` and ``rankK`` in percent; NaN if no query has a true match.

        Raises:
            CuhsError: nothing was fed, or the features cannot be ranked (see :func:`.ranking.rank`).
        """
        batches = self._batches
        if dist.is_available() and dist.is_initialized():
            parts: list[list] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, batches)
            batches = [batch for part in parts for batch in part]
        if not batches:
            raise CuhsError("ReIDMetric: nothing to rank; call update before compute")
        columns = zip(*((batch.values, batch.pids, batch.camids, mask) for batch, mask in batches), strict=True)
        features, pids, camids, is_query = (np.concatenate(column) for column in columns)
        query, gallery = (
            Features(torch.from_numpy(features[rows]).to(self._device), pids[rows], camids[rows])
            for rows in (is_query, ~is_query)
        )
        return rank(query, gallery, chunk_mb=self.chunk_mb).percentages(self.ranks)
