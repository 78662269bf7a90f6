"""The main training (Eq. 14): trains the network with its localiser frozen, in the model's MLflow run."""

import json
import logging

import torch

from cuhs.alone import alone
from cuhs.data.dataset import PersonImages
from cuhs.export import ModelCard, load_hsl, read_card, save
from cuhs.network.cuhs import CUHS, parameter_mib
from cuhs.training.hsl import mean_iou
from pipelines.base.figures import LOCALISER
from pipelines.base.params import NO_RESULT, Params
from pipelines.base.paths import DATASET, HISTORY, HSL, HSL_METRICS, MODEL, MODEL_RUN, RUNS
from pipelines.base.versions import code_version, data_version, file_version, run_name
from pipelines.tracking import reproduce, stage_runs
from pipelines.training import runs, start
from pipelines.training.trainings import ReIDRun, boxed_split, held_out_loader

log = logging.getLogger(__name__)


def train_network(p: Params) -> None:
    """Train ``models/cuhs``; an interrupted training continues from its last checkpoint.

    Raises:
        CuhsError: as for :func:`.start.train`, the dataset or the localiser is missing, or another process
            does this training here.
        Terminated: at SIGTERM, after a checkpoint was saved.
    """
    # Building the network here first reveals impossible parameters before any worker starts.
    network = CUHS(p.network, load_hsl(HSL) if p.network.learned_stream else None)
    data = data_version()
    inputs = {
        "data": data,
        "hsl": file_version(HSL / "model.safetensors") if p.network.learned_stream else None,
        "image": p.image.model_dump(),
        "network": p.network.model_dump(),
        "train": p.train.model_dump(exclude=NO_RESULT),
        "workers": p.compute.workers,
        "code": code_version("train"),
    }
    name = run_name("train", **inputs)
    with alone(RUNS / name, "training"):
        _train(p, network, name, data)


def _train(p: Params, network: CUHS, name: str, data: str) -> None:
    run = stage_runs.start_or_resume(name, p, kind="model", data_version=data)
    for path in reproduce.FILES:
        if path.is_file():
            run.artifacts(path, reproduce.FOLDER)
    mib = parameter_mib(network)
    log.info("%s: %s, %.1f MiB of parameters", p.variant, ", ".join(network.widths), mib)
    paths = {"dataset": str(DATASET.resolve()), "hsl": str(HSL.resolve())}
    state = start.train(ReIDRun, p, paths, name, run)

    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)})
    metrics: dict[str, float | None] = {"parameters_mib": mib}
    if network.localiser is not None:
        images = PersonImages(DATASET, "train", p.image.height, p.image.width)
        held = held_out_loader(images, boxed_split(images, p)[1], p.evaluate.batch)
        # Shows that freezing worked: the IoU must be the same as before the main training.
        metrics["hsl/iou_after_training"] = mean_iou(network.localiser, held, torch.device("cpu"))
        run.tags({"cuhs.localiser_run": read_card(HSL).about["run"]})
        metrics["hsl/iou"] = LOCALISER.read(HSL_METRICS).iou
    about = {"run": run.key, "data_version": data, "variant": p.variant, **metrics}
    card = ModelCard(
        network=p.network,
        height=p.image.height,
        width=p.image.width,
        localises=network.localiser is not None,
        about=about,
    )
    save(network, card, MODEL)
    run.write(MODEL_RUN)
    HISTORY.parent.mkdir(exist_ok=True)
    epochs = [{"epoch": i + 1, **metrics} for i, metrics in enumerate(state["history"])]
    HISTORY.write_text(json.dumps(epochs, indent=1) + "\n")
    run.metrics(metrics)
    run.artifacts(MODEL, "model")
    run.finish()
    runs.discard(name)
