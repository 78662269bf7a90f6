"""Hold out training identities for tuning parameters, so that the test split stays unseen."""

import hashlib

import numpy as np

from cuhs.errors import CuhsError


def hold_out(
    pids: np.ndarray, camids: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hold out a share of the identities that two or more cameras see.

    Identities are chosen by a hash of their names, so adding images or people hardly changes the choice. The
    first image of a held-out identity from each camera is a query. The gallery is all images of the held-out
    identities: ranking ignores the query itself there, as it ignores all of the query's own camera.

    Args:
        pids: (N,) identities.
        camids: (N,) cameras.
        share: share of the identities seen by two or more cameras, in (0, 1).
        seed: seed of the choice.

    Returns:
        Row indices for training, queries and gallery, each ascending.

    Raises:
        CuhsError: fewer than two identities are held out or left for training.
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
