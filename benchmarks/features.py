"""Features that resemble a re-ID model's: identities are clusters, blurred by cameras and by each image."""

from dataclasses import replace

import numpy as np

from cuhs.evaluation.features import Features

# Identities differ in this many directions, whatever the features' number of dimensions.
_DIRECTIONS = 64


def people(
    queries: int,
    gallery: int,
    dimensions: int,
    *,
    signal: float = 1.0,
    identities: int = 750,
    cameras: int = 6,
    distractors: float = 0.15,
    junk: float = 0.05,
    seed: int = 0,
) -> tuple[Features, Features]:
    """Query and gallery: (N, D) float32 of unit length and int64 labels; junk rows have the identity -1.

    Args:
        queries: rows of the query.
        gallery: rows of the gallery, distractors and junk among them.
        dimensions: D.
        signal: how far identities are apart: 1 gives a well-trained model's mAP, 0 random features.
        identities: the number of query identities.
        cameras: the number of cameras that rows are drawn from.
        distractors: the share of the gallery that shows people of no query.
        junk: the share of the gallery that is junk.
        seed: the seed of everything drawn.
    """
    rng = np.random.default_rng(seed)
    strangers = max(1, int(distractors * gallery) // 4)
    centres = signal * rng.standard_normal((identities + strangers, _DIRECTIONS), np.float32)
    casts = 0.25 * rng.standard_normal((cameras, _DIRECTIONS), np.float32)
    onto = rng.standard_normal((_DIRECTIONS, dimensions), np.float32)

    def drawn(pids: np.ndarray) -> Features:
        camids = rng.integers(cameras, size=len(pids))
        # Some images are far worse than others: blurred, cut off, half hidden.
        blur = rng.lognormal(-0.45, 0.6, (len(pids), 1)).astype(np.float32)
        noise = blur * rng.standard_normal((len(pids), _DIRECTIONS), np.float32)
        features = (centres[pids] + casts[camids] + noise) @ onto
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return Features(features, pids, camids)

    query = drawn(rng.integers(identities, size=queries))
    kind = rng.random(gallery)
    pids = np.where(
        kind < distractors,
        identities + rng.integers(strangers, size=gallery),
        rng.integers(identities, size=gallery),
    )
    rows = drawn(pids)
    return query, replace(rows, pids=np.where(kind > 1 - junk, -1, pids))
