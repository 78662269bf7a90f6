"""P×K identity sampling that does not depend on the number of workers, and plain batches for the localiser."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cuhs.errors import CuhsError


class Draw(NamedTuple):
    """Row of one image, with the seed of its augmentation."""

    row: int
    seed: int


def check_share(batch: int, workers: int, key: str) -> None:
    """Refuse a batch that workers cannot share equally, or of which they would get one image each.

    Batch normalisation needs two images on each worker.

    Raises:
        CuhsError: the batch cannot be shared; the message names ``key``, which sets it.
    """
    if batch % workers:
        raise CuhsError(
            f"compute.workers: the {batch} images of a batch do not divide among {workers} workers; choose another "
            f"number, or another {key}"
        )
    if batch // workers < 2:
        raise CuhsError(
            f"compute.workers: {workers} workers get one image each of a batch of {batch}, and batch normalisation "
            f"needs two; use fewer workers or a larger {key}"
        )


class IdentitySampler:
    """Batches of P identities with K images each; no identity is twice in a batch.

    The *global* batches of an epoch depend only on seed and epoch. Each of W workers yields its own W-th of
    every batch, so 1 worker with 64 images and 2 with 32 see the same images with the same augmentation.

    An epoch cuts every identity's shuffled images into groups of K; an identity with fewer than K images
    repeats some. A batch takes a group each from P identities, those with the most groups left first. The
    epoch ends when fewer than P identities have groups left.

    Args:
        labels: (N,) identity of each image.
        identities: P.
        images: K.
        seed: seed of the training run.
        rank: index of this worker.
        workers: W, the number of workers; must divide P·K.

    Raises:
        CuhsError: there are fewer than P identities, W does not divide P·K, or leaves a worker one image.
    """

    def __init__(
        self, labels: np.ndarray, identities: int, images: int, seed: int, rank: int = 0, workers: int = 1
    ) -> None:
        # Sorted once: a search for each identity would grow with the square of their number.
        rows = np.argsort(labels, kind="stable")
        self.by_identity = np.split(rows, np.unique(labels[rows], return_index=True)[1][1:])
        if len(self.by_identity) < identities:
            raise CuhsError(
                f"train.identities: {identities} identities a batch, but the training split has "
                f"{len(self.by_identity)}; choose fewer"
            )
        check_share(identities * images, workers, "train.identities × train.images_per_identity")
        self.identities, self.images, self.seed = identities, images, seed
        self.rank, self.workers = rank, workers
        self.set_epoch(0)

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Draw an epoch's batches and skip the first ``done``; the length still counts all of them."""
        self.batches, self.done = self._global_batches(epoch), done

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.identities * self.images // self.workers
        for batch in self.batches[self.done :]:
            yield _draws(batch[self.rank * share : (self.rank + 1) * share])

    def _global_batches(self, epoch: int) -> np.ndarray:
        """(batches, P·K, 2) int64, a row and a seed each; as many :class:`Draw` would take eight times the memory."""
        rng = np.random.default_rng([self.seed, epoch])
        groups = [self._groups(indices, rng) for indices in self.by_identity]
        left = np.array([len(g) for g in groups])
        batches = []
        while (left > 0).sum() >= self.identities:
            # Take from the identities with most groups left, ties at random: otherwise the identities with
            # many images would remain at the end, too few to fill a batch.
            keys = rng.random(len(left)) - left
            first = np.argpartition(keys, self.identities - 1)[: self.identities]
            chosen = rng.permutation(first[np.argsort(keys[first])])
            left[chosen] -= 1
            indices = np.concatenate([groups[i][left[i]] for i in chosen])
            seeds = rng.integers(0, 2**63, len(indices))
            batches.append(np.stack([indices, seeds], axis=1))
        return np.stack(batches)[rng.permutation(len(batches))]

    def _groups(self, indices: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        shuffled = rng.permutation(indices)
        if len(shuffled) < self.images:
            return [np.resize(shuffled, self.images)]
        whole = len(shuffled) // self.images * self.images
        return np.split(shuffled[:whole], whole // self.images)


class ShuffleSampler:
    """Shuffled batches of single images; drops the last incomplete batch unless it is the only one.

    Global batches depend only on seed and epoch; each worker yields an equal part of every batch.
    """

    def __init__(self, indices: np.ndarray, batch: int, seed: int, rank: int = 0, workers: int = 1) -> None:
        # With fewer images than a batch, make one batch of as many as the workers can share equally.
        self.batch = batch if len(indices) >= batch else len(indices) // workers * workers
        check_share(self.batch or len(indices), workers, "pretrain_hsl.batch")
        self.indices, self.seed, self.rank, self.workers = indices, seed, rank, workers
        self.set_epoch(0)

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Draw an epoch's batches and skip the first ``done``; the length still counts all of them."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.indices)[: len(self) * self.batch]
        seeds = rng.integers(0, 2**63, len(order))
        self.batches, self.done = np.stack([order, seeds], axis=1).reshape(-1, self.batch, 2), done

    def __len__(self) -> int:
        return len(self.indices) // self.batch

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch // self.workers
        for batch in self.batches[self.done :]:
            yield _draws(batch[self.rank * share : (self.rank + 1) * share])


def _draws(batch: np.ndarray) -> list[Draw]:
    """The rows and seeds (n, 2) of a batch as plain numbers, which a data loader sends to its processes."""
    return [Draw(row, seed) for row, seed in batch.tolist()]
