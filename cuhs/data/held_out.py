"""Identities of the training split set aside to judge parameters on: the test split stays unseen."""

import hashlib

import numpy as np

from cuhs.errors import CuhsError


def hold_out(
    pids: np.ndarray, camids: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Set a share of the identities seen by two cameras or more aside.

    An identity is chosen by a hash of its name, so adding images or people moves nobody else. Each camera's first
    image of an identity is a query; all images of the identities set aside are the gallery, where ranking ignores
    a query itself as it ignores all of its own camera.

    Args:
        pids: (N,) identities.
        camids: (N,) cameras.
        share: of those identities, in (0, 1).
        seed: of the choice.

    Returns:
        Rows to train on, queries and gallery, each ascending.

    Raises:
        CuhsError: fewer than two identities are on either side.
    """
    cameras = {pid: np.unique(camids[pids == pid]) for pid in np.unique(pids)}
    several = sorted((pid for pid, seen in cameras.items() if len(seen) > 1), key=lambda pid: _hash(seed, pid))
    chosen = several[: max(2, round(share * len(several)))]
    if len(chosen) < 2 or len(cameras) - len(chosen) < 2:
        raise CuhsError(
            f"tune.held_out: {share:g} of {len(several)} training identities that two cameras see leaves too few to "
            "train on or to judge on"
        )
    gallery = np.flatnonzero(np.isin(pids, chosen))
    pairs = np.array([f"{pid}\0{camid}" for pid, camid in zip(pids[gallery], camids[gallery], strict=True)])
    queries = gallery[np.sort(np.unique(pairs, return_index=True)[1])]
    return np.flatnonzero(~np.isin(pids, chosen)), queries, gallery


def _hash(seed: int, pid: str) -> str:
    return hashlib.sha256(f"{seed}/{pid}".encode()).hexdigest()
