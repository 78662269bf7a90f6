"""Writing of FG-Synth in the raw layouts of Market-1501, CUHK03, Occluded-REID and Partial-REID."""

import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from cuhs.csv_files import write_csv
from cuhs.errors import CuhsError
from cuhs.synthetic.camera import Box, Camera, Photo
from cuhs.synthetic.orders import CAMERAS, GROUPS, Order, Orders, plan
from cuhs.synthetic.person import Identity, generator, sample_identity
from cuhs.synthetic.sheet import contact_sheet

CONTENT = frozenset({*CAMERAS, "annotations", "contact_sheet.jpg"})
SPLIT = "cuhk03_new_protocol_config_labeled.mat"

Watch = Callable[[Sequence[Order]], Iterable[Order]]


@dataclass(frozen=True)
class Studio:
    """All people and cameras of one seed."""

    seed: int
    people: dict[tuple[str, int], Identity]
    cameras: dict[tuple[str, int], Camera]

    def photograph(self, order: Order) -> tuple[Image.Image, Box | None]:
        """Make one image; the same order gives the same pixels, whatever was made before."""
        rng = generator(self.seed, *order.key)
        person = self._stranger(rng) if order.pid is None else self.people[order.source, order.pid]
        photo = self.cameras[order.source, order.camera].photograph(person, rng, order.framing)
        return _cut_out(photo) if order.partial else (photo.image, photo.box)

    def _stranger(self, rng: np.random.Generator) -> Identity | None:
        """Return a person without an identity, or None for a detector's false alarm."""
        if rng.random() < 0.3:
            return None
        return sample_identity(rng, GROUPS[int(rng.integers(len(GROUPS)))])


def synthesize(folder: Path, seed: int, identities: int, images: int, watch: Watch = iter) -> Orders:
    """Write the dataset; the same arguments give the same bytes.

    Args:
        folder: folder to create; an earlier FG-Synth there is replaced.
        seed: determines all random choices.
        identities: number of identities in all four sources together.
        images: approximate number of images in all four sources together.
        watch: wraps the orders while they are processed, for a progress bar.

    Returns:
        The orders of all written images.

    Raises:
        CuhsError: too few images for the identities; the folder cannot be written or holds something else.
    """
    orders = plan(seed, identities, images)
    folder = folder.resolve()
    # Write to a sibling folder first, so that an interrupted run leaves no partial dataset.
    unfinished = folder.with_name(folder.name + ".unfinished")
    try:
        _check_replaceable(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            _write(unfinished, seed, orders, watch)
            if folder.exists():
                shutil.rmtree(folder)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CuhsError(
            f"{folder}: FG-Synth cannot be written there ({reason}); choose a folder that you can write to"
        ) from error
    return orders


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise CuhsError(f"{folder}: is a file, but FG-Synth needs a folder there; move the file elsewhere")
    strangers = sorted({path.name for path in folder.glob("*")} - CONTENT)
    if strangers:
        raise CuhsError(f"{folder}: holds files that are not FG-Synth's ({strangers[0]}); move them elsewhere")


def _write(folder: Path, seed: int, orders: Orders, watch: Watch) -> None:
    people = {
        (source, pid): sample_identity(generator(seed, source, pid, "identity"), colour)
        for source, colours in orders.colours.items()
        for pid, colour in colours.items()
    }
    cameras = {
        (source, index): Camera((seed, source, index), index + 3 * i)
        for i, (source, count) in enumerate(CAMERAS.items())
        for index in range(count)
    }
    studio = Studio(seed, people, cameras)
    boxes: dict[str, list[tuple[str, Box]]] = {source: [] for source in CAMERAS}
    for order in watch(orders.images):
        image, box = studio.photograph(order)
        path = image_path(folder, order)
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)  # applies to JPEG; PNG and TIFF keep every pixel
        if box is not None:
            boxes[order.source].append((order.path, box))
    (folder / "annotations").mkdir()
    for source in CAMERAS:
        annotations = folder / "annotations"
        write_csv(annotations / f"{source}_clothing.csv", ("pid", "colour"), orders.colours[source].items())
        rows = ((path, *box) for path, box in boxes[source])
        write_csv(annotations / f"{source}_head_shoulder.csv", ("file", "x1", "y1", "x2", "y2"), rows)
    _write_cuhk03_split(folder / "cuhk03" / SPLIT, orders)
    located = {(source, path): box for source, rows in boxes.items() for path, box in rows}
    contact_sheet(orders, lambda order: _picture(folder, order), located).save(
        folder / "contact_sheet.jpg", quality=92
    )


def _picture(folder: Path, order: Order) -> Image.Image:
    return Image.open(image_path(folder, order), formats=("JPEG", "PNG", "TIFF"))


def image_path(folder: Path, order: Order) -> Path:
    """Return the path of an order's image in the dataset's folder."""
    source = folder / order.source
    return (source / "images_labeled" if order.source == "cuhk03" else source) / order.path


def _write_cuhk03_split(path: Path, orders: Orders) -> None:
    """Write the split in the form of the published CUHK03-NP file: 1-based indices into its list of files."""
    images = [order for order in orders.images if order.source == "cuhk03"]
    train, query, gallery = [], [], []
    asked = set()
    for i, order in enumerate(images, start=1):
        if order.pid in orders.train["cuhk03"]:
            train.append(i)
        elif (order.pid, order.camera) in asked:
            gallery.append(i)
        else:
            asked.add((order.pid, order.camera))
            query.append(i)

    def column(values: Iterable[int], kind: type) -> np.ndarray:
        return np.array(list(values), kind).reshape(-1, 1)

    content = {
        "filelist": np.array([order.path for order in images], object).reshape(-1, 1),
        "labels": column((order.pid or 0 for order in images), np.uint16),
        "camId": column((order.camera + 1 for order in images), np.uint8),
        "train_idx": column(train, np.uint32),
        "query_idx": column(query, np.uint32),
        "gallery_idx": column(gallery, np.uint32),
    }
    buffer = io.BytesIO()
    savemat(buffer, content)
    # Replace the 116 bytes of free text at the start, which would contain the time of writing.
    path.write_bytes(b"MATLAB 5.0 MAT-file, FG-Synth".ljust(116) + buffer.getvalue()[116:])


def _cut_out(photo: Photo) -> tuple[Image.Image, Box | None]:
    """Cut out the largest part of an image beside, above or below the obstacle."""
    width, height = photo.image.size
    x1, y1, x2, y2 = photo.covered or (0, round(0.55 * height), width, height)
    strips = ((0, 0, width, y1), (0, y2, width, height), (0, 0, x1, height), (x2, 0, width, height))
    left, top, right, bottom = max(strips, key=_area)
    if _area((left, top, right, bottom)) < 0.35 * width * height:
        left, top, right, bottom = 0, 0, width, round(0.55 * height)
    image = photo.image.crop((left, top, right, bottom))
    if photo.box is None:
        return image, None
    x1, y1, x2, y2 = photo.box
    inside = (max(x1, left), max(y1, top), min(x2, right), min(y2, bottom))
    if _area(inside) < 0.5 * _area(photo.box):
        return image, None
    return image, (inside[0] - left, inside[1] - top, inside[2] - left, inside[3] - top)


def _area(box: Box) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
