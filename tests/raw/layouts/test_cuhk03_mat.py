"""CUHK03 as released, on a small file of the same structure, written as MATLAB writes version 7.3."""

import io
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from cuhs.build.build import build
from cuhs.build.config import DatasetConfig
from cuhs.errors import CuhsError
from cuhs.raw.config import Source
from cuhs.raw.layouts import cuhk03, cuhk03_mat
from cuhs.raw.sources import list_source, raw_bytes

# Images by pair, identity and place among the ten of an identity.
SLOTS = [(1, 1, 1), (1, 1, 2), (1, 1, 6), (1, 2, 5), (1, 2, 10), (5, 1, 3), (5, 1, 7)]


def pixels(pair: int, identity: int, place: int) -> np.ndarray:
    """Height 12 + place, width 9, RGB."""
    return np.random.default_rng((pair, identity, place)).integers(0, 256, (12 + place, 9, 3), dtype=np.uint8)


def release(folder: Path) -> Path:
    """``cuhk-03.mat`` with two identities in pair 1, one in pair 5, and the others empty; no detected images."""
    folder.mkdir(exist_ok=True)
    mat = folder / "cuhk-03.mat"
    with h5py.File(mat, "w", userblock_size=512) as file:
        number = iter(range(1000))

        def refer(data: np.ndarray) -> h5py.Reference:
            dtype = h5py.ref_dtype if data.dtype == object else data.dtype
            return file.create_dataset(f"#refs#/{next(number)}", data=data, dtype=dtype).ref

        def cell(rows: int, columns: int) -> np.ndarray:
            return np.empty((rows, columns), dtype=object)

        empty = refer(np.zeros(2, dtype=np.uint64))
        labeled, detected = cell(1, 5), cell(1, 5)
        for pair in range(1, 6):
            people = max((person for p, person, _ in SLOTS if p == pair), default=1)
            table = cell(10, people)
            table[:] = empty
            for p, person, place in SLOTS:
                if p == pair:
                    table[place - 1, person - 1] = refer(pixels(p, person, place).T)
            labeled[0, pair - 1] = refer(table)
            table[:] = empty
            detected[0, pair - 1] = refer(table)
        sets = cell(1, 2)
        sets[0, 0] = refer(np.array([[1.0, 5.0], [2.0, 1.0]]))
        sets[0, 1] = refer(np.array([[1.0], [1.0]]))
        for name, content in (("labeled", labeled), ("detected", detected), ("testsets", sets)):
            file.create_dataset(name, data=content, dtype=h5py.ref_dtype)
    with mat.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return mat


def extract(folder: Path) -> None:
    (folder / "images_labeled").mkdir(parents=True)
    for pair, identity, place in SLOTS:
        name = f"{pair}_{identity:03d}_{1 if place <= 5 else 2}_{place:02d}.png"
        Image.fromarray(pixels(pair, identity, place)).save(folder / "images_labeled" / name, compress_level=3)


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_the_file_reads_as_its_usual_extraction_does(tmp_path: Path) -> None:
    release(tmp_path / "released")
    extract(tmp_path / "extracted")
    released = list_source("c", Source(classify=False, layout="cuhk03", folder=tmp_path / "released"))
    assert (
        released.images
        == list_source("c", Source(classify=False, layout="cuhk03", folder=tmp_path / "extracted")).images
    )
    assert [image.path for image in released.images][:3] == [
        "images_labeled/1_001_1_01.png",
        "images_labeled/1_001_1_02.png",
        "images_labeled/1_001_2_06.png",
    ]
    assert [image.pid for image in released.images] == [1, 1, 1, 2, 2, 1419, 1419]
    assert released.strays == []


def test_pixels_come_upright_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    mat = release(tmp_path)
    files = Source(classify=False, layout="cuhk03", folder=tmp_path)
    for (pair, identity, place), path in zip(SLOTS, cuhk03_mat.paths(mat, "labeled"), strict=True):
        np.testing.assert_array_equal(decoded(raw_bytes(files, path)), pixels(pair, identity, place))
        assert raw_bytes(files, path) == raw_bytes(files, path)


def test_the_dataset_is_the_same_from_either_form(tmp_path: Path) -> None:
    release(tmp_path / "released")
    extract(tmp_path / "extracted")
    versions = {
        build(
            DatasetConfig(
                name="small",
                raw=tmp_path,
                sources={"cuhk03": Source(classify=False, layout="cuhk03", folder=form)},
                test_share=1.0,
            ),
            tmp_path / f"{form}.dataset",
        )["version"]
        for form in ("released", "extracted")
    }
    assert len(versions) == 1


def test_extracted_images_come_first(tmp_path: Path) -> None:
    release(tmp_path)
    extract(tmp_path)
    (tmp_path / "images_labeled/1_001_1_01.png").write_bytes(b"mine")
    assert (
        raw_bytes(Source(classify=False, layout="cuhk03", folder=tmp_path), "images_labeled/1_001_1_01.png")
        == b"mine"
    )
    assert cuhk03.original(tmp_path, "labeled") is None
    assert cuhk03.original(tmp_path, "detected") == tmp_path / "cuhk-03.mat"


def test_the_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(tmp_path)
    opened = []
    actual = h5py.File
    monkeypatch.setattr(h5py, "File", lambda *given, **options: opened.append(given) or actual(*given, **options))
    files = Source(classify=False, layout="cuhk03", folder=tmp_path)
    for image in list_source("c", files).images:
        raw_bytes(files, image.path)
    assert len(opened) == 1


@pytest.mark.parametrize(
    "pool",
    [
        partial(ThreadPoolExecutor, 4),
        partial(ProcessPoolExecutor, 2, mp_context=multiprocessing.get_context("fork")),
    ],
)
def test_threads_and_processes_read_the_same_bytes(tmp_path: Path, pool: Callable[[], Executor]) -> None:
    release(tmp_path)
    files = Source(classify=False, layout="cuhk03", folder=tmp_path)
    paths = [image.path for image in list_source("c", files).images]
    expected = [raw_bytes(files, path) for path in paths]
    with pool() as workers:
        assert list(workers.map(partial(raw_bytes, files), paths * 20)) == expected * 20


@pytest.mark.parametrize(
    "path",
    [
        "images_labeled/1_001_1_03.png",
        "images_labeled/1_003_1_01.png",
        "images_labeled/5_049_2_10.png",
        "images_labeled/1_001_1_00.png",
        "images_labeled/9_001_1_01.png",
        "images_detected/1_001_1_01.png",
        "1_001_1_01.png",
    ],
)
def test_an_image_that_is_not_there_is_an_os_error(tmp_path: Path, path: str) -> None:
    release(tmp_path)
    with pytest.raises(OSError, match=path):
        raw_bytes(Source(classify=False, layout="cuhk03", folder=tmp_path), path)


def test_an_image_of_another_kind_is_an_os_error_and_listed(tmp_path: Path) -> None:
    mat = release(tmp_path)
    with h5py.File(mat, "r+") as file:
        table = file[file["labeled"][0, 0]]
        table[0, 0] = file.create_dataset("#refs#/wide", data=np.zeros((3, 9, 12))).ref
    files = Source(classify=False, layout="cuhk03", folder=tmp_path)
    assert list_source("c", files).images[0].path == "images_labeled/1_001_1_01.png"
    with pytest.raises(OSError, match=r"no image images_labeled/1_001_1_01\.png"):
        raw_bytes(files, "images_labeled/1_001_1_01.png")


def test_the_classic_split_is_in_the_same_file(tmp_path: Path) -> None:
    mat = release(tmp_path)
    images = cuhk03.read(tmp_path, "labeled", mat)
    assert [image.split for image in images] == ["train"] * 3 + ["query", "gallery"] * 2


def test_the_new_protocol_s_split_names_the_images_of_the_file(tmp_path: Path) -> None:
    mat = release(tmp_path)
    names = np.empty((len(SLOTS), 1), dtype=object)
    names[:, 0] = [path.partition("/")[2] for path in cuhk03_mat.paths(mat, "labeled")]
    content = {"filelist": names, "train_idx": [1, 2, 3, 4, 5], "query_idx": [6], "gallery_idx": [7]}
    scipy.io.savemat(tmp_path / "np.mat", content)
    images = cuhk03.read(tmp_path, "labeled", tmp_path / "np.mat")
    assert [image.split for image in images] == ["train"] * 5 + ["query", "gallery"]


def spoil(mat: Path, without: str) -> None:
    with h5py.File(mat, "r+") as file:
        del file[without]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mat: mat.write_bytes(b"MATLAB 7.3" * 100), "not CUHK03's file as released"),
        (lambda mat: mat.write_bytes(mat.read_bytes()[:2000]), "not CUHK03's file as released"),
        (lambda mat: spoil(mat, "labeled"), "not CUHK03's file as released"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, damage: object, message: str) -> None:
    damage(release(tmp_path))  # type: ignore[operator]
    with pytest.raises(CuhsError, match=rf"cuhk-03\.mat: {message}") as caught:
        list_source("c", Source(classify=False, layout="cuhk03", folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_boxes_without_images_are_told(tmp_path: Path) -> None:
    release(tmp_path)
    with pytest.raises(CuhsError, match=r"cuhk-03\.mat: detected holds no image"):
        list_source("c", Source(classify=False, layout="cuhk03", folder=tmp_path, images="detected"))


def test_a_file_without_test_sets_is_no_split(tmp_path: Path) -> None:
    mat = release(tmp_path)
    spoil(mat, "testsets")
    with pytest.raises(CuhsError, match=r"cuhk-03\.mat: not CUHK03's file as released .*testsets"):
        cuhk03.read(tmp_path, "labeled", mat)


def test_images_and_tables_that_would_expand_to_gigabytes_are_not_read(tmp_path: Path) -> None:
    mat = release(tmp_path)
    with h5py.File(mat, "a") as file:
        reference = file[file["labeled"][0, 0]][0, 0]
        name = file[reference].name
        del file[name]
        image = file.create_dataset(name, shape=(3, 2**17, 2**16), dtype="u1", chunks=(3, 64, 64), compression="gzip")
        file[file["labeled"][0, 0]][0, 0] = image.ref
    with pytest.raises(OSError, match=r"no image images_labeled/1_001_1_01\.png in cuhk-03\.mat"):
        cuhk03_mat.image_bytes(mat, "images_labeled/1_001_1_01.png")
    other = release(tmp_path / "other")
    with h5py.File(other, "a") as file:
        del file["labeled"]
        file.create_dataset("labeled", shape=(2**16, 2**16), dtype="u1", chunks=(64, 64), compression="gzip")
    with pytest.raises(CuhsError, match="not CUHK03's file as released"):
        cuhk03_mat.paths(other, "labeled")
