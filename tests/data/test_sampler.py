"""Batches that follow from seed and epoch alone, whatever the number of workers."""

import tracemalloc
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhs.data.sampler import IdentitySampler, ShuffleSampler
from cuhs.errors import CuhsError

counts = st.lists(st.integers(1, 9), min_size=2, max_size=9)


def labelled(images: list[int], seed: int = 0) -> np.ndarray:
    """Labels of identities with so many images each, shuffled; identities are not numbered from 0."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(images)) * 3 + 5, images))


@settings(deadline=None, max_examples=60)
@given(counts, st.data())
def test_a_batch_has_p_identities_once_with_k_images_each(images: list[int], data: st.DataObject) -> None:
    p, k = data.draw(st.integers(2, len(images))), data.draw(st.integers(2, 4))
    labels = labelled(images)
    sampler = IdentitySampler(labels, p, k, seed=data.draw(st.integers(0, 99)))
    sampler.set_epoch(data.draw(st.integers(0, 99)))
    batches = list(sampler)
    assert len(batches) == len(sampler) > 0
    for batch in batches:
        per_identity = Counter(labels[draw.row] for draw in batch)
        assert len(per_identity) == p and set(per_identity.values()) == {k}


@settings(deadline=None, max_examples=60)
@given(counts, st.data())
def test_images_repeat_only_in_identities_with_fewer_than_k(images: list[int], data: st.DataObject) -> None:
    p, k = data.draw(st.integers(2, len(images))), data.draw(st.integers(2, 4))
    labels = labelled(images)
    sampler = IdentitySampler(labels, p, k, seed=1)
    drawn = Counter(draw.row for batch in sampler for draw in batch)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        own = [drawn[index] for index in np.flatnonzero(labels == label)]
        if count >= k:
            assert max(own) <= 1 and sum(own) % k == 0
        elif sum(own):  # one group of K, from all its images as evenly as can be
            assert sum(own) == k and max(own) - min(own) <= 1


@settings(deadline=None, max_examples=60)
@given(counts, st.data())
def test_workers_share_each_global_batch(images: list[int], data: st.DataObject) -> None:
    p, k = data.draw(st.integers(2, len(images))), data.draw(st.integers(2, 4))
    workers = data.draw(st.sampled_from([w for w in range(1, p * k // 2 + 1) if p * k % w == 0]))
    labels, epoch = labelled(images), data.draw(st.integers(0, 9))
    parts = []
    for rank in range(workers):
        sampler = IdentitySampler(labels, p, k, seed=3, rank=rank, workers=workers)
        sampler.set_epoch(epoch)
        parts.append(list(sampler))
    alone = IdentitySampler(labels, p, k, seed=3)
    alone.set_epoch(epoch)
    assert all(len(batch) == p * k // workers for part in parts for batch in part)
    assert [list(chain(*shares)) for shares in zip(*parts, strict=True)] == list(alone)


def epochs(sampler: IdentitySampler | ShuffleSampler, count: int) -> list[list]:
    found = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


def test_seed_and_epoch_decide_everything() -> None:
    labels = labelled([6] * 8)
    first, second = (epochs(IdentitySampler(labels, 4, 2, seed=5), 3) for _ in range(2))
    other = epochs(IdentitySampler(labels, 4, 2, seed=6), 3)
    assert first == second
    assert first[0] != first[1] != first[2] and all(a != b for a, b in zip(first, other, strict=True))
    seeds = [draw.seed for epoch in first for batch in epoch for draw in batch]
    assert len(set(seeds)) == len(seeds)  # no image is augmented twice the same way


@pytest.mark.parametrize(
    "sampler",
    [IdentitySampler(labelled([4] * 6), 3, 2, seed=0, rank=1, workers=2), ShuffleSampler(np.arange(33), 8, 0, 1, 2)],
)
def test_what_is_done_of_an_epoch_is_left_out(sampler: IdentitySampler | ShuffleSampler) -> None:
    sampler.set_epoch(3)
    whole = list(sampler)
    for done in range(len(whole) + 1):
        sampler.set_epoch(3, done)
        assert list(sampler) == whole[done:] and len(sampler) == len(whole) == 4
    sampler.set_epoch(4)
    assert len(list(sampler)) == 4


def test_going_back_to_an_epoch_gives_its_batches_again() -> None:
    sampler = IdentitySampler(labelled([4] * 6), 3, 2, seed=0)
    first = epochs(sampler, 4)
    sampler.set_epoch(2)
    assert list(sampler) == first[2]


def test_an_epoch_uses_all_images_of_equal_identities() -> None:
    labels = labelled([8] * 12)
    for epoch in epochs(IdentitySampler(labels, 4, 4, seed=0), 3):
        assert sorted(draw.row for batch in epoch for draw in batch) == list(range(96))


def test_rich_and_poor_identities_get_their_share() -> None:
    """Identities with most groups left go first, so that next to none are left over."""
    images = [16, 12, 12, 8, 8, 8, 4, 4, 4, 4]
    labels = labelled(images)
    possible = dict(zip(np.unique(labels).tolist(), images, strict=True))
    for epoch in epochs(IdentitySampler(labels, 4, 4, seed=0), 5):
        used = Counter(int(labels[draw.row]) for batch in epoch for draw in batch)
        assert len(epoch) == 5  # 20 groups of four images, four a batch: all of them
        assert used == possible


def test_left_out_images_differ_between_epochs() -> None:
    labels = labelled([7] * 4)
    left_out = [
        frozenset(range(28)) - {draw.row for batch in epoch for draw in batch}
        for epoch in epochs(IdentitySampler(labels, 4, 4, seed=0), 6)
    ]
    assert len(set(left_out)) == 6 and len(frozenset.union(*left_out)) > 20


def test_fewer_identities_than_a_batch_needs_are_refused() -> None:
    with pytest.raises(CuhsError, match=r"^train\.identities: 16 identities a batch, but .* has 3"):
        IdentitySampler(labelled([4, 4, 4]), 16, 4, seed=0)


@settings(deadline=None, max_examples=30)
@given(counts, st.integers(0, 99))
def test_a_batch_takes_those_with_the_most_groups_left_and_ties_at_random(pairs: list[int], seed: int) -> None:
    labels, p, k = labelled([2 * count for count in pairs]), 2, 2
    rng = np.random.default_rng([seed, 0])
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups = [[*rng.permutation(own).reshape(-1, k)] for own in rows]
    left, batches = np.array([len(own) for own in rows]) // k, []
    while (left > 0).sum() >= p:
        first = rng.permutation(np.lexsort((rng.random(len(left)), -left))[:p])
        left[first] -= 1
        drawn = np.concatenate([groups[i][left[i]] for i in first])
        batches.append([*zip(drawn.tolist(), rng.integers(0, 2**63, p * k).tolist(), strict=True)])
    expected = [batches[i] for i in rng.permutation(len(batches))]
    assert [[(draw.row, draw.seed) for draw in batch] for batch in IdentitySampler(labels, p, k, seed)] == expected


def test_a_batch_that_does_not_divide_among_the_workers_is_refused() -> None:
    with pytest.raises(
        CuhsError, match=r"^compute\.workers: the 8 images .* 3 workers; .* another train\.identities × train\.images"
    ):
        IdentitySampler(labelled([4, 4, 4]), 2, 4, seed=0, workers=3)


# Plain batches


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 9))
def test_shuffled_batches_are_whole_disjoint_and_shared(n: int, share: int, workers: int, epoch: int) -> None:
    indices = np.arange(n) * 2 + 1
    batch = share * workers
    if n < 2 * workers or share < 2:
        with pytest.raises(CuhsError, match=r"^compute\.workers: "):
            ShuffleSampler(indices, batch, seed=0, workers=workers)
        return
    samplers = [ShuffleSampler(indices, batch, 0, rank, workers) for rank in range(workers)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    whole = [list(chain(*shares)) for shares in zip(*samplers, strict=True)]
    drawn = [draw.row for b in whole for draw in b]
    size = batch if n >= batch else n // workers * workers
    assert [len(b) for b in whole] == [size] * (n // size) and len(whole) == len(samplers[0])
    assert len(set(drawn)) == len(drawn) and set(drawn) <= set(indices.tolist())
    if n >= batch:  # then the global batches do not depend on the number of workers
        alone = ShuffleSampler(indices, batch, 0)
        alone.set_epoch(epoch)
        assert whole == list(alone)


def test_shuffled_epochs_differ_and_repeat() -> None:
    first, second = (epochs(ShuffleSampler(np.arange(20), 8, seed=1), 3) for _ in range(2))
    assert first == second and first[0] != first[1] != first[2]
    assert first != epochs(ShuffleSampler(np.arange(20), 8, seed=2), 3)
    assert [len(epoch) for epoch in first] == [2, 2, 2]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(CuhsError, match=r"^compute\.workers: the 64 .* 3 workers; .* another pretrain_hsl\.batch"):
        ShuffleSampler(np.arange(100), 64, seed=0, workers=3)


def test_a_batch_that_leaves_each_worker_one_image_is_refused() -> None:
    one = r"^compute\.workers: 8 workers get one image each of a batch of 8, .* use fewer workers or a larger"
    with pytest.raises(CuhsError, match=one + r" train\.identities × train\.images_per_identity"):
        IdentitySampler(labelled([4, 4, 4, 4]), 4, 2, seed=0, workers=8)
    with pytest.raises(CuhsError, match=one + r" pretrain_hsl\.batch"):
        ShuffleSampler(np.arange(100), 8, seed=0, workers=8)


def test_no_images_are_refused() -> None:
    with pytest.raises(CuhsError):
        ShuffleSampler(np.arange(0), 8, seed=0)


def test_a_seed_draws_what_it_always_drew() -> None:
    # Another order would change every trained number.
    identities = IdentitySampler(np.repeat(np.arange(7), [3, 9, 4, 12, 5, 8, 6]), 3, 4, seed=5)
    shuffled = ShuffleSampler(np.arange(40), 8, seed=5)
    firsts, sums = [], []
    for sampler in (identities, shuffled):
        sampler.set_epoch(2)
        batches = list(sampler)
        firsts.append([draw.row for draw in batches[0]])
        sums.append(sum(draw.seed for batch in batches for draw in batch))
    assert firsts == [[40, 36, 33, 38, 5, 7, 3, 10, 21, 19, 16, 22], [34, 23, 37, 31, 25, 5, 13, 26]]
    assert sums == [164413659565165250491, 189564122890292247577]


def test_an_epoch_of_many_images_takes_little_memory() -> None:
    labels = np.repeat(np.arange(500), 24)
    tracemalloc.start()
    try:
        sampler = IdentitySampler(labels, 16, 4, seed=0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sampler) == 187 and kept / len(labels) < 50
