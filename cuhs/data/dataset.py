"""PyTorch dataset of one split of a built dataset."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cuhs.data.augment import UNCHANGED, Augmentation, augmented, decode
from cuhs.data.cache import Cache, DecodedImages, opened
from cuhs.data.sampler import Draw
from cuhs.data.shards import REBUILD, read_split
from cuhs.errors import CuhsError, cut


@dataclass(frozen=True)
class Batch:
    """Images of a batch as they are stored, and how each is to be changed.

    Attributes:
        pixels: (n, H, W, 3) uint8.
        labels: (n,) int64.
        boxes: (n, 4) float32, NaN where there is none.
        changes: (n, 12) float32, each as in :data:`~cuhs.data.augment.UNCHANGED`.
    """

    pixels: Tensor
    labels: Tensor
    boxes: Tensor
    changes: Tensor

    def pin_memory(self) -> "Batch":
        """Copy the batch to page-locked memory; called by a data loader that pins memory."""
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Change the images on a device: the network's input (n, 3, H, W) float32, and the boxes in it (n, 4)."""
        found = (tensor.to(device, non_blocking=True) for tensor in (self.pixels, self.boxes, self.changes))
        return augmented(*found)


# An image's pixels (H, W, 3) uint8, label, box (4,) and change (12,).
Item = tuple[np.ndarray, int, np.ndarray, np.ndarray]


@dataclass
class PersonImages(Dataset[Item]):
    """Images of one split with their labels; an image is decoded when it is read, and only once if there is a cache.

    Attributes:
        root: folder of the built dataset.
        split: ``train``, ``query`` or ``gallery``.
        height, width: size that images are resized to.
        augmentation: drawn for items indexed by a :class:`~cuhs.data.sampler.Draw`; None leaves images as they are.
        cache: where decoded images are kept, which changes no pixel; None decodes an image each time that it is read.
        pids, camids, colours, sources, paths: (N,) arrays of str.
        box_origins: (N,) array of names from :data:`cuhs.raw.head_shoulder_boxes.ORIGINS`, or None.
        labels: (N,) int64, identities numbered in the order of their sorted names.
        boxes: (N, 4) float32, NaN where there is none.
        groups: for each of the N images, its evaluation groups.
        junk: (N,) bool, images that ranking ignores.
    """

    root: Path
    split: str
    height: int
    width: int
    augmentation: Augmentation | None = None
    cache: Cache | None = None
    table: pa.Table = field(init=False, repr=False)
    decoded: DecodedImages | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.table = read_split(self.root, self.split)
        self.decoded = opened(self.cache, self.table["image"], self.height, self.width) if self.cache else None
        self._decoded_rows = np.arange(len(self.table))
        self._index()

    def take(self, rows: np.ndarray) -> "PersonImages":
        """Select rows, in their order; identities are numbered anew."""
        fewer = copy.copy(self)
        fewer.table = self.table.take(pa.array(rows))
        fewer._decoded_rows = self._decoded_rows[rows]
        fewer._index()
        return fewer

    def _index(self) -> None:
        for column in ("pid", "camid", "colour", "source", "path", "box_origin"):
            setattr(self, f"{column}s", np.array(self.table[column].to_pylist()))
        self.identities, self.labels = np.unique(self.pids, return_inverse=True)
        self.groups: list[list[str]] = self.table["groups"].to_pylist()
        self.junk = np.array(self.table["junk"].to_pylist(), dtype=bool)
        missing = [np.nan] * 4
        self.boxes = np.array([box or missing for box in self.table["box"].to_pylist()], np.float32).reshape(-1, 4)

    pids: np.ndarray = field(init=False, repr=False)
    camids: np.ndarray = field(init=False, repr=False)
    colours: np.ndarray = field(init=False, repr=False)
    sources: np.ndarray = field(init=False, repr=False)
    paths: np.ndarray = field(init=False, repr=False)
    box_origins: np.ndarray = field(init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of the image file."""
        return self.table["image"][index].as_py()

    def _pixels(self, index: int) -> np.ndarray:
        if self.decoded is None:
            return self._decode(index)
        row = int(self._decoded_rows[index])
        pixels = self.decoded.read(row)
        if pixels is None:
            pixels = self._decode(index)
            self.decoded.write(row, pixels)
        return pixels

    def _decode(self, index: int) -> np.ndarray:
        try:
            return decode(self.encoded(index), self.height, self.width)
        except Exception as error:  # Pillow's decoders raise exceptions of any type on broken files
            raise CuhsError(
                f"{self.root / self.split}: {self.paths[index]} cannot be decoded ({cut(str(error))}); {REBUILD}"
            ) from error

    def __getitem__(self, item: int | Draw) -> Item:
        """Return an image with its label, its box, and the change that its seed draws."""
        index, seed = (item, None) if isinstance(item, int) else item
        change = UNCHANGED
        if seed is not None and self.augmentation is not None:
            change = self.augmentation.draw(seed, self.height, self.width)
        return self._pixels(index), int(self.labels[index]), self.boxes[index], change


def collate(items: list[Item]) -> Batch:
    """Stack items into a batch."""
    return Batch(*(torch.from_numpy(np.stack(each)) for each in zip(*items, strict=True)))
