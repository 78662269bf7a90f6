from pathlib import Path

import numpy as np

from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import Metrics, evaluate_groups
from pipelines.base import params
from pipelines.evaluation.evaluation import Evaluation

PARAMS = Path(__file__).parents[3] / "params.yaml"


def test_reranking_is_told_beside_and_with_the_parameters_given() -> None:
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(12), 3).astype(str)
    centres = np.repeat(rng.normal(size=(12, 6)), 3, axis=0)
    features = {
        name: Features(centres + 0.6 * rng.normal(size=centres.shape), pids, np.full(36, name))
        for name in ("query", "gallery")
    }

    def reranked_by(config: params.Rerank | None) -> dict[str, Metrics]:
        p = params.load(PARAMS).model_copy(update={"evaluate": params.Evaluate(rerank=config)})
        return Evaluation(p, model=None, card=None, splits={}, features=features, groups={}).reranked

    reranked = reranked_by(params.Rerank(k1=4, k2=2))["all"]
    plain = evaluate_groups(features["query"], features["gallery"], resamples=10)["all"].metrics
    assert reranked["queries"] == plain["queries"] == 36
    assert reranked["mAP"] != plain["mAP"]
    # λ = 1 leaves the distances as they were.
    assert reranked_by(params.Rerank(lambda_value=1.0))["all"]["mAP"] == plain["mAP"]
    assert reranked_by(None) == {}
