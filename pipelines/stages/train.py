"""Stage ``train``: the network (Eq. 14) with the localiser frozen; opens the MLflow run of the model."""

import json
import logging
from pathlib import Path

import torch

from cuhs.data.dataset import PersonImages
from cuhs.export import ModelCard, load_hsl, read_card, save
from cuhs.network.cuhs import CUHS, parameter_mib
from cuhs.training.hsl import mean_iou
from pipelines.base import cli, params
from pipelines.base.versions import DATASET, code_version, data_version, file_version, run_name
from pipelines.commands import checkout
from pipelines.stages import pretrain_hsl
from pipelines.tracking import stage_runs
from pipelines.training import ray_training
from pipelines.training.trainings import ReIDRun, boxed_split, held_out_loader

OUT = Path("models/cuhs")
RUN_FILE = Path("models/run.json")
HISTORY = Path("reports/training.json")

log = logging.getLogger(__name__)


def main() -> None:
    """Train ``models/cuhs``."""
    p = params.load()
    # Building it here first shows impossible parameters before any worker starts.
    network = CUHS(p.network, load_hsl(pretrain_hsl.OUT) if p.network.learned_stream else None)
    data = data_version()
    inputs = {
        "data": data,
        "hsl": file_version(pretrain_hsl.OUT / "model.safetensors") if p.network.learned_stream else None,
        "image": p.image.model_dump(),
        "network": p.network.model_dump(),
        "train": p.train.model_dump(),
        "workers": p.compute.workers,
        "code": code_version(),
    }
    name = run_name("train", **inputs)
    run = stage_runs.start_or_resume(name, p, kind="model", data_version=data)
    for path in checkout.FILES:
        if path.is_file():
            run.artifacts(path, checkout.FOLDER)
    mib = parameter_mib(network)
    log.info("%s: %s, %.1f MiB of parameters", p.variant, ", ".join(network.widths), mib)
    paths = {"dataset": str(DATASET.resolve()), "hsl": str(pretrain_hsl.OUT.resolve())}
    state = ray_training.train(ReIDRun, p, paths, name, run)

    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)})
    metrics: dict[str, float | None] = {"parameters_mib": mib}
    if network.localiser is not None:
        images = PersonImages(DATASET, "train", p.image.height, p.image.width)
        held = held_out_loader(images, boxed_split(images, p)[1], p.evaluate.batch)
        # The bar of the freezing: after the main training the localiser answers as it did before.
        metrics["hsl/iou_after_training"] = mean_iou(network.localiser, held, torch.device("cpu"))
        run.tags({"cuhs.localiser_run": read_card(pretrain_hsl.OUT).about["run"]})
        metrics["hsl/iou"] = json.loads(pretrain_hsl.METRICS.read_text())["iou"]
    about = {"run": run.key, "data_version": data, "variant": p.variant, **metrics}
    card = ModelCard(
        network=p.network,
        height=p.image.height,
        width=p.image.width,
        localises=network.localiser is not None,
        about=about,
    )
    save(network, card, OUT)
    run.write(RUN_FILE)
    HISTORY.parent.mkdir(exist_ok=True)
    epochs = [{"epoch": i + 1, **metrics} for i, metrics in enumerate(state["history"])]
    HISTORY.write_text(json.dumps(epochs, indent=1) + "\n")
    run.metrics(metrics)
    run.artifacts(OUT, "model")
    run.finish()
    ray_training.discard(name)


if __name__ == "__main__":
    cli.run_stage("train", main)
