"""The two trainings as each worker builds them for its rank: data, model, sampler, optimiser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cuhs.data.augment import Augmentation
from cuhs.data.cache import Cache
from cuhs.data.dataset import PersonImages
from cuhs.data.loading import Loader
from cuhs.data.sampler import IdentitySampler, ShuffleSampler
from cuhs.errors import CuhsError
from cuhs.export import load_hsl
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.training.compiled import compile_in_place
from cuhs.training.config import HslTraining, ReIDTraining
from cuhs.training.epoch import Epoch, EpochPart, OnStep
from cuhs.training.flops import Utilisation
from cuhs.training.hsl import mean_iou, split_boxed, train_hsl_epoch
from cuhs.training.numerics import Numerics
from cuhs.training.reid import Classified, train_epoch
from cuhs.training.schedule import adam
from pipelines.base.params import Params
from pipelines.storage import node_cache


class _OnWorker:
    """What both trainings share; ``wrapped`` is the model, wrapped if there are several workers."""

    wrapped: nn.Module
    sampler: IdentitySampler | ShuffleSampler
    loader: Loader
    optimizer: torch.optim.Optimizer
    config: HslTraining | ReIDTraining
    device: torch.device
    used: Utilisation

    @property
    def numerics(self) -> Numerics:
        """How it computes."""
        return Numerics(self.config.precision, self.config.deterministic)

    def _pass(
        self, train: Callable[..., dict[str, float]], epoch: int, part: EpochPart, on_step: OnStep
    ) -> dict[str, float]:
        """Train the rest of an epoch with one of the functions of :mod:`cuhs.training`."""
        self.sampler.set_epoch(epoch, part.steps)
        rest = Epoch(epoch, len(self.sampler), part, on_step)
        self.used.begin()
        metrics = train(self.wrapped, self.loader, self.optimizer, self.config, rest)
        return {**metrics, **self.used.metrics(metrics["images_per_second"])}


class HslRun(_OnWorker):
    """The first step: trains the localiser on the training images with boxes, without the held-out identities."""

    def __init__(self, params: Params, paths: dict[str, str], device: torch.device, rank: int, workers: int) -> None:
        self.config, self.device, self.rank, self.workers = params.pretrain_hsl, device, rank, workers
        self.epochs = self.config.epochs
        torch.manual_seed(self.config.seed)
        augmentation = Augmentation(pad=self.config.pad, jitter=self.config.jitter)
        images = _training_images(params, paths, augmentation)
        trained, held = boxed_split(images, params)
        self.model = make_hsl(params.network)
        self.model.start_at(torch.from_numpy(images.boxes[trained].mean(0)))
        self.used = Utilisation(self.model, params.image.height, params.image.width, device, self.config.precision)
        self.wrapped = _distributed(self.model, params.train.sync_bn, device, workers)
        self.sampler = ShuffleSampler(trained, self.config.batch, self.config.seed, rank, workers)
        self.loader = Loader(images, self.sampler, params.compute.loader_processes, pinned=device.type == "cuda")
        self.held_out = held_out_loader(images, held, params.evaluate.batch)
        self.optimizer = adam(self.model, self.config)

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """One pass, then the IoU of the first worker's model, which checkpoints hold, on the held-out identities."""
        metrics = self._pass(train_hsl_epoch, epoch, part, on_step)
        iou = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.rank == 0:
            iou.fill_(mean_iou(self.model, self.held_out, self.device))
        if self.workers > 1:
            dist.broadcast(iou, src=0)
        return {**metrics, "iou": float(iou)}


class ReIDRun(_OnWorker):
    """The second step: trains the whole network with its localiser frozen."""

    def __init__(self, params: Params, paths: dict[str, str], device: torch.device, rank: int, workers: int) -> None:
        self.config, self.device = params.train, device
        self.epochs = self.config.epochs
        torch.manual_seed(self.config.seed)
        images = self._images(params, paths)
        hsl = load_hsl(Path(paths["hsl"])) if params.network.learned_stream else None
        self.model = Classified(CUHS(params.network, hsl), len(images.identities))
        self.used = Utilisation(self.model, params.image.height, params.image.width, device, self.config.precision)
        if self.config.compile:
            compile_in_place(self.model, device)
        self.wrapped = _distributed(self.model, self.config.sync_bn, device, workers)
        self.sampler = IdentitySampler(
            images.labels,
            self.config.identities,
            self.config.images_per_identity,
            self.config.seed,
            rank,
            workers,
        )
        self.loader = Loader(images, self.sampler, params.compute.loader_processes, pinned=device.type == "cuda")
        self.optimizer = adam(self.model, self.config)

    def _images(self, params: Params, paths: dict[str, str]) -> PersonImages:
        config = params.train
        augmentation = Augmentation(pad=config.pad, jitter=config.jitter, erasing=config.erasing)
        return _training_images(params, paths, augmentation)

    def epoch(self, epoch: int, part: EpochPart, on_step: OnStep) -> dict[str, float]:
        """One pass over this worker's part of each batch."""
        return self._pass(train_epoch, epoch, part, on_step)


def _training_images(params: Params, paths: dict[str, str], augmentation: Augmentation) -> PersonImages:
    """The training split, decoded once on each machine."""
    cache = Cache(node_cache.folder() / "decoded", params.compute.decoded_mib)
    size = params.image.height, params.image.width
    return PersonImages(Path(paths["dataset"]), "train", *size, augmentation, cache)


def boxed_split(images: PersonImages, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images with boxes: those to train the localiser on, and the held-out ones to judge it on.

    Fixed boxes (the upper third) are not used for judging, unless there are no others.

    Raises:
        CuhsError: there are too few boxes to learn from.
    """
    config = params.pretrain_hsl
    boxed = images.pids[~np.isnan(images.boxes[:, 0])]
    if len(np.unique(boxed)) < 2:
        raise CuhsError(
            f"data.sources: {len(boxed)} training images of {params.data.name} have a head-shoulder box; give a "
            "`boxes` file, or a variant without a learned region (-S variant=fixed_region)"
        )
    trained, held = split_boxed(images.pids, images.boxes, config.held_out, config.seed)
    seen = held[images.box_origins[held] != "fixed"]
    return trained, seen if len(seen) else held


def held_out_loader(images: PersonImages, held: np.ndarray, batch: int) -> Loader:
    """A loader of the held-out images, in order."""
    return Loader(images, [held[start : start + batch].tolist() for start in range(0, len(held), batch)], processes=0)


def _distributed(model: nn.Module, sync_bn: bool, device: torch.device, workers: int) -> nn.Module:
    """The model on its device, channels-last, wrapped for distributed training if there are several workers."""
    if sync_bn and device.type == "cpu":
        raise CuhsError("train.sync_bn: synchronised normalisation needs GPUs; set it to false on CPUs")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if workers == 1:
        return model
    if sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
