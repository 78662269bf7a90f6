"""Features of the queries or of the gallery, with the labels that ranking needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from cuhs.errors import CuhsError

Matrix = torch.Tensor | np.ndarray
Labels = torch.Tensor | np.ndarray | Sequence[int] | Sequence[str]

# Name of the evaluation group that holds every row.
ALL = "all"


@dataclass(frozen=True, init=False, eq=False)
class Features:
    """Rows of features with their labels.

    Attributes:
        values: (N, D) real, of any precision; computations convert them to float32.
        pids: (N,) int or str, identities; a negative number marks a junk row.
        camids: (N,) int or str, cameras.
        names: N names, for error messages and captions.
        groups: for each of the N rows, the evaluation groups that it is in; every row is also in ``all``.
        junk: (N,) bool, marks further rows that ranking ignores.

    Raises:
        CuhsError: the lengths differ, or labels are neither integers nor strings.

    Example:
        >>> features = Features(np.zeros((3, 2)), [7, -1, 8], ["a", "a", "b"], junk=np.array([False, False, True]))
        >>> features.is_junk.tolist()
        [False, True, True]
    """

    values: Matrix
    pids: np.ndarray
    camids: np.ndarray
    names: Sequence[str] | None
    groups: Sequence[Sequence[str]] | None
    junk: np.ndarray | None

    def __init__(
        self,
        values: Matrix,
        pids: Labels,
        camids: Labels,
        names: Sequence[str] | None = None,
        groups: Sequence[Sequence[str]] | None = None,
        junk: np.ndarray | None = None,
    ) -> None:
        labels = {"pids": _array(pids, len(values), "pids"), "camids": _array(camids, len(values), "camids")}
        others = {"names": names, "groups": groups, "junk": junk}
        for name, column in others.items():
            if column is not None and len(column) != len(values):
                raise CuhsError(f"{name}: {len(values)} rows of features need as many, got {len(column)}")
        vars(self).update(values=values, **labels, **others)

    @classmethod
    def without_values(cls, pids: Labels, camids: Labels) -> "Features":
        """Create labels without features (D = 0), for ranking by given distances."""
        return cls(np.empty((len(pids), 0), np.float32), pids, camids)

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def is_junk(self) -> np.ndarray:
        """(N,) bool: rows that ranking ignores, by a negative identity or by :attr:`junk`."""
        negative = self.pids < 0 if self.pids.dtype.kind in "iu" else np.zeros(len(self), bool)
        return negative if self.junk is None else negative | np.asarray(self.junk, bool)

    @property
    def named_groups(self) -> set[str]:
        """The evaluation groups that the rows name."""
        return {name for groups in self._groups for name in groups}

    def rows_of(self, group: str) -> np.ndarray:
        """Return the indices of the rows in ``group`` that are not junk."""
        if group == ALL:
            return np.flatnonzero(~self.is_junk)
        member = np.array([group in groups for groups in self._groups], bool)
        return np.flatnonzero(member & ~self.is_junk)

    def name(self, row: int) -> str:
        """Return a row's name, or ``row N`` if rows have no names."""
        return f"row {row}" if self.names is None else self.names[row]

    def take(self, rows: np.ndarray) -> "Features":
        """Select rows, in the given order; taking all rows in their order makes no copy."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        return Features(
            self.values[rows],
            self.pids[rows],
            self.camids[rows],
            None if self.names is None else [self.names[i] for i in rows],
            None if self.groups is None else [self.groups[i] for i in rows],
            None if self.junk is None else np.asarray(self.junk)[rows],
        )

    @property
    def _groups(self) -> Sequence[Sequence[str]]:
        return [()] * len(self) if self.groups is None else self.groups


def _array(labels: Labels, count: int, what: str) -> np.ndarray:
    array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if array.dtype.kind == "O":  # what Parquet columns of strings turn into
        array = np.asarray(array.tolist())
    if array.shape != (count,):
        raise CuhsError(f"{what}: {count} rows of features need as many labels, got {array.shape}")
    if count and array.dtype.kind not in "iuUT":
        raise CuhsError(f"{what}: must be integers or strings, got {array.dtype}")
    return array
