"""Trains the head-shoulder localiser (Eq. 15), in its own MLflow run."""

import json
import logging

import numpy as np

from cuhs.alone import alone
from cuhs.data.dataset import PersonImages
from cuhs.export import ModelCard, save_hsl
from cuhs.network.cuhs import make_hsl
from cuhs.training.hsl import constant_box_iou
from pipelines.base.params import Params
from pipelines.base.paths import DATASET, HSL, HSL_METRICS, RUNS
from pipelines.base.versions import code_version, data_version, run_name
from pipelines.tracking import stage_runs
from pipelines.training import runs, start
from pipelines.training.trainings import HslRun, boxed_split

log = logging.getLogger(__name__)


def train_localiser(p: Params) -> None:
    """Train ``models/hsl``; an interrupted training continues from its last checkpoint.

    If no training image has a box, there is nothing to learn: the model is empty, and variants with a learned region
    fail.

    Raises:
        CuhsError: as for :func:`.start.train`, the dataset is missing or has too few boxes, or another
            process does this training here.
        Terminated: at SIGTERM, after a checkpoint was saved.
    """
    images = PersonImages(DATASET, "train", p.image.height, p.image.width)
    if np.isnan(images.boxes).all():
        log.warning("localiser: no training image has a head-shoulder box; variants with a learned region cannot run")
        HSL.mkdir(parents=True, exist_ok=True)
        _write_metrics({"images": 0})
        return
    data = data_version()
    inputs = {
        "data": data,
        "image": p.image.model_dump(),
        "backbone": (p.network.backbone, p.network.weights),
        "pretrain_hsl": p.pretrain_hsl.model_dump(),
        "workers": p.compute.workers,
        "code": code_version("pretrain_hsl"),
    }
    name = run_name("pretrain_hsl", **inputs)
    with alone(RUNS / name, "training"):
        _train(p, images, name, data)


def _train(p: Params, images: PersonImages, name: str, data: str) -> None:
    trained, held = boxed_split(images, p)
    constant = constant_box_iou(images.boxes[trained], images.boxes[held])
    run = stage_runs.start_or_resume(name, p, kind="hsl", data_version=data)
    log.info(
        "localiser: %d boxed images, %d held out; a constant box has IoU %.3f",
        len(trained),
        len(held),
        constant,
    )
    state = start.train(HslRun, p, {"dataset": str(DATASET.resolve())}, name, run)

    hsl = make_hsl(p.network, pretrained=False)
    hsl.load_state_dict(state["model"])
    metrics = {
        "iou": round(state["history"][-1]["iou"], 4),
        "iou_constant_box": round(constant, 4),
        "images": len(trained),
        "held_out_images": len(held),
    }
    about = {**metrics, "run": run.key, "data_version": data}
    card = ModelCard(network=p.network, height=p.image.height, width=p.image.width, localises=True, about=about)
    save_hsl(hsl, card, HSL)
    _write_metrics(metrics)
    run.metrics({f"hsl/{key}": value for key, value in metrics.items()})
    run.artifacts(HSL, "model")
    run.finish()
    runs.discard(name)
    log.info("localiser: IoU %.3f on held-out identities (constant box %.3f)", metrics["iou"], constant)


def _write_metrics(metrics: dict[str, float]) -> None:
    HSL_METRICS.parent.mkdir(exist_ok=True)
    HSL_METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
