"""A split as the training and the evaluation see it."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from cuhs.data.augment import Augmentation
from cuhs.data.dataset import PersonImages, collate
from cuhs.data.sampler import Draw
from cuhs.errors import CuhsError

CPU = torch.device("cpu")


@pytest.fixture
def images(tiny_dataset: Path) -> PersonImages:
    return PersonImages(tiny_dataset, "train", 64, 32, Augmentation(flip=1.0, pad=0))


def test_labels_number_the_sorted_identities(images: PersonImages) -> None:
    names = ["made/0001", "made/0003", "made/0005", "made/0007", "made/0011", "made/0020"]
    assert images.identities.tolist() == names
    # The first shard's identities come first, in the order in which they were written.
    assert images.labels.tolist() == [label for label in (3, 1, 4, 0, 5, 2) for _ in range(4)]
    assert [names[label] for label in images.labels] == images.pids.tolist()
    assert len(images) == 24 and images.labels.dtype == np.int64


def test_every_row_keeps_its_columns_together(images: PersonImages) -> None:
    for index in (0, 15, 16, 23):
        pid, camid, _ = images.paths[index].removesuffix(".jpg").split("_")
        assert images.pids[index] == f"made/{pid}" and images.camids[index] == f"made/{camid}"
        assert images.table["path"][index].as_py() == images.paths[index]
    assert set(images.colours) == {"black"} and set(images.sources) == {"made"}
    assert images.groups == [["all"]] * 24 and images.junk.dtype == bool and not images.junk.any()


def test_boxes_are_nan_where_there_is_none(images: PersonImages) -> None:
    assert images.boxes.shape == (24, 4) and images.boxes.dtype == np.float32
    assert np.isnan(images.boxes[3::4]).all() and not np.isnan(images.boxes[0::4]).any()
    np.testing.assert_allclose(images.boxes[2], [0.1, 0.0, 0.9, 0.32], rtol=1e-6)


def test_a_split_without_any_box(tiny_dataset: Path) -> None:
    boxes = PersonImages(tiny_dataset, "query", 64, 32).boxes
    assert boxes.shape == (2, 4) and np.isnan(boxes).all()


def by_hand(images: PersonImages, index: int) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(images.table["image"][index].as_py())), np.float64)
    return ((pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


def test_a_number_asks_for_the_image_as_it_is_and_a_draw_for_an_augmented_one(images: PersonImages) -> None:
    batch = collate([images[item] for item in (0, 20, Draw(0, seed=7), Draw(3, seed=7))])
    inputs, boxes = batch.inputs(CPU)
    for i, index in enumerate((0, 20)):
        np.testing.assert_allclose(inputs[i], by_hand(images, index), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(boxes[i], images.boxes[index])
    assert torch.equal(inputs[2], inputs[0].flip(2))
    assert boxes[2].tolist() == pytest.approx([0.1, 0, 0.9, 0.3], abs=1e-6) and boxes[3].isnan().all()
    assert batch.labels.tolist() == images.labels[[0, 20, 0, 3]].tolist()


def test_without_an_augmentation_a_draw_changes_nothing(tiny_dataset: Path) -> None:
    images = PersonImages(tiny_dataset, "train", 64, 32)
    inputs, _ = collate([images[0], images[Draw(0, seed=7)]]).inputs(CPU)
    assert torch.equal(inputs[0], inputs[1])


def test_images_are_resized(tiny_dataset: Path) -> None:
    pixels, *_ = PersonImages(tiny_dataset, "query", 96, 48)[1]
    assert pixels.shape == (96, 48, 3) and pixels.dtype == np.uint8


def test_batches_are_bytes_and_keep_items_together(images: PersonImages) -> None:
    draws = [Draw(5, 1), Draw(23, 2), Draw(0, 3)]
    batch = collate([images[draw] for draw in draws])
    assert batch.pixels.shape == (3, 64, 32, 3) and batch.pixels.dtype == torch.uint8
    assert batch.labels.dtype == torch.int64 and batch.labels.tolist() == images.labels[[5, 23, 0]].tolist()
    assert batch.boxes.dtype == batch.changes.dtype == torch.float32
    for i, draw in enumerate(draws):
        pixels, _, box, change = images[draw]
        np.testing.assert_array_equal(batch.pixels[i], pixels)
        np.testing.assert_array_equal(batch.boxes[i], box)
        np.testing.assert_array_equal(batch.changes[i], change)


def test_a_missing_split_says_what_to_run(tiny_dataset: Path) -> None:
    with pytest.raises(CuhsError, match="validation: no Parquet shard here; build the dataset first") as error:
        PersonImages(tiny_dataset, "validation", 64, 32)
    assert "\n" not in str(error.value)


def test_a_missing_dataset_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CuhsError, match="nothing/train: no Parquet shard"):
        PersonImages(tmp_path / "nothing", "train", 64, 32)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0"])
def test_a_stored_image_that_cannot_be_decoded_is_named_with_the_remedy(tiny_dataset: Path, content: bytes) -> None:
    images = PersonImages(tiny_dataset, "query", 64, 32)
    place = images.table.schema.get_field_index("image")
    images.table = images.table.set_column(place, "image", pa.array([content] * len(images), pa.binary()))
    with pytest.raises(CuhsError, match=f"query: {images.paths[0]} cannot be decoded .*; rebuild it: dvc") as error:
        images[0]
    assert "\n" not in str(error.value)
