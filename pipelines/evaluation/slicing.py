"""The parts of the test split that the report measures separately."""

from collections.abc import Mapping

import numpy as np

from cuhs.data.dataset import PersonImages
from cuhs.evaluation.features import Features
from cuhs.evaluation.groups import Group, Metrics
from cuhs.evaluation.slices import by_pair, by_query

# More cameras make more pairs than anyone reads.
MOST_CAMERAS = 8


def slices(
    splits: Mapping[str, PersonImages], features: Mapping[str, Features], whole: Group
) -> dict[str, dict[str, Metrics]]:
    """The measures of all queries by source, occlusion, box and camera pair; what does not vary is left out.

    Args:
        splits: the images of ``query`` and ``gallery``.
        features: the features of the same splits.
        whole: the result of the group ``all``.
    """
    query, rows = splits["query"], whole.query_rows
    labels = {
        "source": query.sources[rows],
        "occlusion": np.array([_occlusion(path) for path in query.paths[rows]]),
        "head-shoulder box": np.where(np.isnan(query.boxes[rows, 0]), "not annotated", "annotated"),
    }
    found = {
        name: by_query(whole.ranking, query.pids[rows], values)
        for name, values in labels.items()
        if len(np.unique(values)) > 1
    }
    cameras = len(np.unique(np.concatenate([split.camids for split in splits.values()])))
    if 1 < cameras <= MOST_CAMERAS:
        found["camera pair"] = by_pair(
            features["query"], features["gallery"], query.camids, splits["gallery"].camids, ranks=(1,)
        )
    return found


def _occlusion(path: str) -> str:
    """An image's kind of occlusion, from the folder where Occluded-REID and Partial-REID keep it."""
    folder = path.partition("/")[0]
    return folder.partition("_body_images")[0] if folder.endswith("_body_images") else "not stated"
