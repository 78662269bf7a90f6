"""The two-step training of CUHS as a plain PyTorch loop: no Ray, DVC or MLflow.

    python examples/train_without_pipeline.py --out model
    torchrun --nproc-per-node 2 examples/train_without_pipeline.py --dataset data/dataset --out model

Without ``--dataset`` it draws a small FG-Synth and builds that. Under torchrun each process takes its part of every
batch; batches, augmentation and hard mining are the same for any number of processes.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cuhs import CUHS, DatasetConfig, Features, ModelCard, NetworkConfig, PersonImages, Source, embed, evaluate_groups
from cuhs.build.build import build
from cuhs.data.augment import Augmentation
from cuhs.data.loading import Loader
from cuhs.data.sampler import IdentitySampler, ShuffleSampler
from cuhs.export import save
from cuhs.network.cuhs import make_hsl
from cuhs.network.head_shoulder import HSL
from cuhs.synthetic.layouts import synthesize
from cuhs.training.config import HslTraining, ReIDTraining
from cuhs.training.epoch import Epoch
from cuhs.training.hsl import train_hsl_epoch
from cuhs.training.reid import Classified, train_epoch
from cuhs.training.schedule import adam

HEIGHT, WIDTH = 96, 48
# For the paper's network and size: backbone resnet50, weights imagenet, channels 1536, images of 384×128, batches of
# 16 identities, and the other values of pipelines/conf/profile/paper.yaml.
NETWORK = NetworkConfig.model_validate(
    {
        "backbone": "mobilenet_v2",
        "weights": "none",
        "channels": 128,
        "neck": "batchnorm",
        "streams": {
            "bn": {"kind": "global", "reduced": True},
            "in": {"kind": "instance", "branches": 2, "top_k": 5},
            "head_shoulder": {"kind": "part", "region": "learned"},
        },
    }
)


def main() -> None:
    """Build a dataset if there is none, train localiser and network, evaluate, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a built dataset; default: a small FG-Synth is drawn and built")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, and for FG-Synth")
    parser.add_argument("--identities", type=int, default=48, help="people of the FG-Synth that is drawn")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    if "RANK" in os.environ:  # torchrun
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    dataset = arguments.dataset or arguments.out / "fg_synth_dataset"
    if rank == 0 and arguments.dataset is None:
        draw_and_build(arguments.out / "fg_synth", dataset, arguments.identities)
    if dist.is_initialized():
        dist.barrier()

    hsl = train_localiser(dataset, max(1, arguments.epochs // 3), device, rank, workers)
    network = train_network(dataset, hsl, arguments.epochs, device, rank, workers)
    if rank == 0:
        for group, metrics in evaluate(network, dataset, device).items():
            print(f"{group:<6} mAP {metrics['mAP']}  rank-1 {metrics['rank1']}  ({metrics['queries']} queries)")
        save(network.cpu(), ModelCard(network=NETWORK, height=HEIGHT, width=WIDTH, localises=True), arguments.out)
        print(f"saved in {arguments.out}; load it with cuhs.load")
    if dist.is_initialized():
        dist.destroy_process_group()


def draw_and_build(raw: Path, out: Path, identities: int) -> None:
    """FG-Synth in one of its raw layouts, then Parquet shards."""
    synthesize(raw, seed=0, identities=identities, images=10 * identities)
    annotations = Path("annotations")
    sources = {
        name: Source(
            layout=name,
            folder=name,
            clothing=annotations / f"{name}_clothing.csv",
            boxes=annotations / f"{name}_head_shoulder.csv",
            split=Path("cuhk03/cuhk03_new_protocol_config_labeled.mat") if name == "cuhk03" else None,
        )
        for name in ("market1501", "cuhk03", "occluded_reid", "partial_reid")
    }
    build(DatasetConfig(name="fg_synth", raw=raw, protocol="fg_reid", sources=sources), out)


def train_localiser(dataset: Path, epochs: int, device: torch.device, rank: int, workers: int) -> HSL:
    """First step (Eq. 15): the head-shoulder localiser, on the training images that have a box."""
    config = HslTraining(epochs=epochs, batch=32, lr=2e-3, decay="cosine", pad=10, jitter=0.2)
    torch.manual_seed(config.seed)
    images = PersonImages(dataset, "train", HEIGHT, WIDTH, Augmentation(pad=config.pad, jitter=config.jitter))
    boxed = np.flatnonzero(~np.isnan(images.boxes[:, 0]))
    hsl = make_hsl(NETWORK)
    hsl.start_at(torch.from_numpy(images.boxes[boxed].mean(0)))
    model = distributed(hsl.to(device))
    sampler = ShuffleSampler(boxed, config.batch, config.seed, rank, workers)
    loader = Loader(images, sampler, processes=0)
    optimizer = adam(hsl, config)
    for number in range(epochs):
        sampler.set_epoch(number)
        found = train_hsl_epoch(model, loader, optimizer, config, Epoch(number, len(sampler)))
        report("localiser", number, epochs, found, rank)
    return hsl.eval()


def train_network(dataset: Path, hsl: HSL, epochs: int, device: torch.device, rank: int, workers: int) -> CUHS:
    """Second step (Eq. 14): the whole network, its localiser frozen."""
    config = ReIDTraining(
        epochs=epochs,
        identities=8,
        lr=2e-3,
        decay="cosine",
        warmup_epochs=min(1, epochs - 1),
        label_smoothing=0.1,
        pad=10,
        jitter=0.2,
        erasing=0.0,
    )
    torch.manual_seed(config.seed)
    images = PersonImages(dataset, "train", HEIGHT, WIDTH, Augmentation(pad=config.pad, jitter=config.jitter))
    classified = Classified(CUHS(NETWORK, hsl), len(images.identities)).to(device)
    model = distributed(classified)
    sampler = IdentitySampler(
        images.labels, config.identities, config.images_per_identity, config.seed, rank, workers
    )
    loader = Loader(images, sampler, processes=0)
    optimizer = adam(classified, config)
    for number in range(epochs):
        sampler.set_epoch(number)
        found = train_epoch(model, loader, optimizer, config, Epoch(number, len(sampler)))
        report("network", number, epochs, found, rank)
    return classified.network


def evaluate(network: CUHS, dataset: Path, device: torch.device) -> dict[str, dict[str, float | int | None]]:
    """mAP and CMC in percent of every group, single query, across cameras."""
    sides = []
    for split in ("query", "gallery"):
        images = PersonImages(dataset, split, HEIGHT, WIDTH)
        values = embed(network, images, batch=64, device=device)
        sides.append(Features(values, images.pids, images.camids, images.paths, images.groups, images.junk))
    return {name: group.metrics for name, group in evaluate_groups(*sides).items()}


def distributed(model: nn.Module) -> nn.Module:
    """The model, its gradients averaged over all processes where there are several."""
    return DistributedDataParallel(model) if dist.is_initialized() else model


def report(step: str, number: int, epochs: int, found: dict[str, float], rank: int) -> None:
    """A line for each epoch, from the first process."""
    if rank == 0:
        print(
            f"{step} epoch {number + 1}/{epochs}  loss {found['loss']:.3f}  {found['images_per_second']:.0f} images/s"
        )


if __name__ == "__main__":
    main()
