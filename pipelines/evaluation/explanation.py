"""Draws what the model looks at in single images: the paper's Figures 6 and 7 for any image."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cuhs.data.augment import STORED, decode, normalise
from cuhs.data.dataset import PersonImages
from cuhs.errors import CuhsError
from cuhs.evaluation import figures
from cuhs.explain import attention_maps, hidden_cells
from cuhs.export import load
from cuhs.images import BadImage
from cuhs.images import load as checked
from cuhs.network.cuhs import CUHS
from pipelines.base.console import console, progress
from pipelines.base.paths import DATASET

# Height of each picture of a sheet, in pixels, and of the line above it.
HEIGHT, LINE = 320, 18
PREDICTED, ANNOTATED = "#ffd000", "#36c5f0"


def explain(names: Sequence[str], model: Path, out: Path) -> None:
    """Write a sheet for each image: the box that the localiser predicts, and where each branch looks.

    Crosses mark the cells that the first IN branch hides from the second. An annotated box is drawn, too.

    Args:
        names: image files, or paths of images in the built dataset as ``reports/queries.csv`` lists them.
        model: folder of the model.
        out: folder of the sheets.

    Raises:
        CuhsError: there is no such model, or none of the images can be read.
    """
    network, card = load(model)
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    with progress() as bar:
        for name in bar.track(names, description="images"):
            try:
                data, box = _found(name)
                sheet = _sheet(network, checked(data).data, box, (card.height, card.width))
            except (BadImage, CuhsError) as error:
                console.print(f"{name}: left out ({error})", highlight=False, soft_wrap=True)
                continue
            sheet.save(out / f"{name.strip('/').replace('/', '_').rpartition('.')[0] or 'image'}.png")
            written += 1
    if not written:
        raise CuhsError(f"{names[0]}: neither this nor another of the {len(names)} images can be read")
    console.print(f"{written} sheets in {out}", highlight=False)


def _found(name: str) -> tuple[bytes, np.ndarray | None]:
    """An image's bytes and its annotated box, if the built dataset has one."""
    path = Path(name)
    if path.is_file():
        return path.read_bytes(), None
    for split in ("query", "gallery", "train") if DATASET.is_dir() else ():
        images = PersonImages(DATASET, split, 1, 1)
        for row, path_in_source in enumerate(images.paths):
            if name == f"{images.sources[row]}/{path_in_source}":
                box = images.boxes[row]
                return images.encoded(row), None if np.isnan(box[0]) else box
    raise CuhsError("no such file, and no such image in the built dataset")


def _sheet(network: CUHS, data: bytes, box: np.ndarray | None, size: tuple[int, int]) -> Image.Image:
    """The image, the image with its boxes, and with each branch's map, side by side."""
    inputs = normalise(torch.from_numpy(decode(data, *size)[None].copy()))
    with Image.open(BytesIO(data), formats=STORED) as opened:
        image = opened.convert("RGB")
    image = image.resize((max(48, round(image.width * HEIGHT / image.height)), HEIGHT), Image.Resampling.BICUBIC)
    pictures = {"image": image}
    with torch.inference_mode():
        boxes = network.boxes(inputs)
    if boxes is not None:
        outlined = figures.outline(image, boxes[0].tolist(), PREDICTED)
        pictures["head-shoulder"] = outlined if box is None else figures.outline(outlined, box.tolist(), ANNOTATED)
    hidden = hidden_cells(network, inputs)
    for name, heat in attention_maps(network, inputs).items():
        crossed = hidden[name][0].numpy() if name in hidden else None
        pictures[name] = figures.overlay(image, heat[0].numpy(), crossed)
    sheet = Image.new("RGB", (len(pictures) * (image.width + 4), HEIGHT + LINE), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(pictures.items()):
        left = i * (image.width + 4)
        pen.text((left + 2, 3), name, fill="black")
        sheet.paste(picture, (left, LINE))
    return sheet
