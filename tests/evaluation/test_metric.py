import doctest
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cuhs.errors import CuhsError
from cuhs.evaluation import metric as metric_module
from cuhs.evaluation.features import Features
from cuhs.evaluation.metric import ReIDMetric
from cuhs.evaluation.ranking import rank


def images(seed=0):
    random = np.random.default_rng(seed)
    features = torch.from_numpy(random.integers(-9, 10, (200, 8))).float()
    return features, random.integers(-1, 12, 200), random.integers(0, 3, 200), random.random(200) < 0.25


def ranked_at_once(features, pids, camids, query):
    sides = (Features(features[rows], pids[rows], camids[rows]) for rows in (query, ~query))
    return rank(*sides).percentages((1, 5, 10))


def test_batches_give_what_ranking_at_once_gives():
    features, pids, camids, query = images()
    metric = ReIDMetric()
    for part in np.array_split(np.arange(200), 7):
        metric.update(features[part], torch.from_numpy(pids[part]), camids[part], torch.from_numpy(query[part]))
    assert metric.compute() == pytest.approx(ranked_at_once(features, pids, camids, query))


def test_reset_forgets_what_was_fed():
    features, pids, camids, query = images()
    metric = ReIDMetric()
    metric.update(-features, pids, camids, ~query)
    metric.reset()
    metric.update(features, pids, camids, query)
    assert metric.compute() == pytest.approx(ranked_at_once(features, pids, camids, query))


def test_a_side_that_was_never_fed_gives_nan():
    metric = ReIDMetric(ranks=(1,))
    metric.update(torch.zeros(2, 3), [1, 2], [0, 0], is_query=True)
    assert all(math.isnan(value) for value in metric.compute().values())


def test_misuse_is_refused():
    metric = ReIDMetric()
    with pytest.raises(CuhsError, match="call update"):
        metric.compute()
    with pytest.raises(CuhsError, match="camids: 2 rows"):
        metric.update(torch.zeros(2, 3), [1, 2], [0], is_query=True)
    with pytest.raises(CuhsError, match="is_query: 2 rows"):
        metric.update(torch.zeros(2, 3), [1, 2], [0, 0], is_query=np.array([True]))


def feed_one_part(process, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=process, world_size=2)
    features, pids, camids, query = images()
    part = np.arange(process, 200, 2)
    metric = ReIDMetric()
    metric.update(features[part], pids[part], camids[part], query[part])
    torch.save(metric.compute(), f"{results}/{process}.pt")
    dist.destroy_process_group()


@pytest.mark.system
def test_processes_that_share_the_images_all_compute_the_whole(tmp_path):
    mp.spawn(feed_one_part, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    expected = ranked_at_once(*images())
    for process in range(2):
        assert torch.load(tmp_path / f"{process}.pt") == pytest.approx(expected)


def test_example_in_the_docstring_runs():
    results = doctest.testmod(metric_module)
    assert results.attempted > 0
    assert results.failed == 0
