"""FG-Synth: the same bytes from the same seed, true raw layouts, exact boxes, complete labels."""

import csv
import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from cuhs.errors import CuhsError
from cuhs.synthetic.body import Pose
from cuhs.synthetic.camera import Camera, Framing
from cuhs.synthetic.layouts import synthesize
from cuhs.synthetic.orders import plan
from cuhs.synthetic.person import generator, sample_identity
from cuhs.synthetic.render import draw_person
from cuhs.synthetic.solids import HEAD, Canvas, View, plain

SOURCES = ("market1501", "cuhk03", "occluded_reid", "partial_reid")
IDENTITIES, IMAGES = 16, 110


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "fg_synth"
    return folder, synthesize(folder, seed=5, identities=IDENTITIES, images=IMAGES)


def checksums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def image_folder(folder: Path, source: str) -> Path:
    return folder / source / "images_labeled" if source == "cuhk03" else folder / source


def market(folder: Path, part: str) -> list[tuple[int, int]]:
    names = [path.name for path in sorted((folder / "market1501" / part).iterdir())]
    parsed = [re.fullmatch(r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d{2}\.jpg", name) for name in names]
    assert all(parsed), names
    return [(int(match[1]), int(match[2])) for match in parsed]


def test_same_seed_gives_same_bytes_and_another_seed_gives_others(tmp_path):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        synthesize(tmp_path / name, seed=seed, identities=8, images=34)
    first, again, other = (checksums(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    pictures = {path: value for path, value in first.items() if path.startswith("cuhk03/images")}
    assert pictures
    assert not any(other.get(path) == value for path, value in pictures.items())


def test_an_image_does_not_depend_on_what_was_drawn_before():
    person = sample_identity(generator(3, "someone"), "black")
    framing = Framing(size=(64, 128))
    fresh = Camera((3, "market1501", 0), 0).photograph(person, generator(3, "image"), framing)
    used = Camera((3, "market1501", 0), 0)
    used.photograph(person, generator(3, "another"), framing)
    again = used.photograph(person, generator(3, "image"), framing)
    assert np.array_equal(np.asarray(fresh.image), np.asarray(again.image))
    assert fresh.box == again.box


def test_counts_add_up_to_the_parameters(dataset):
    folder, orders = dataset
    assert sum(len(colours) for colours in orders.colours.values()) == IDENTITIES
    files = [path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".tif"}]
    files.remove(folder / "contact_sheet.jpg")
    assert len(files) == len(orders.images)
    assert abs(len(files) - IMAGES) <= 0.05 * IMAGES
    full = Counter(order.source for order in plan(0, 150, 1500).images)
    assert full.total() == pytest.approx(1500, abs=15)
    assert full["market1501"] == pytest.approx(750, rel=0.05)
    assert full["cuhk03"] > full["partial_reid"] > 0
    assert full["occluded_reid"] == 8 * 5 * 2


@pytest.mark.parametrize(("identities", "images"), [(8, 32), (9, 37), (31, 200), (150, 600), (20, 2000)])
def test_any_allowed_size_keeps_the_protocols_whole(identities, images):
    orders = plan(0, identities, images)
    paths = [(order.source, order.path) for order in orders.images]
    assert len(set(paths)) == len(paths)
    assert sum(map(len, orders.colours.values())) == identities
    for source in ("market1501", "cuhk03"):
        train = orders.train[source]
        assert train and set(orders.colours[source]) - train
        for pid in orders.colours[source]:
            mine = [order for order in orders.images if (order.source, order.pid) == (source, pid)]
            cameras = Counter(order.camera for order in mine if order.framing.miss == 0)
            assert len(cameras) >= 2 and min(cameras.values()) >= 2


def test_market1501_has_disjoint_halves_and_one_query_per_identity_and_camera(dataset):
    folder, orders = dataset
    train, query = market(folder, "bounding_box_train"), market(folder, "query")
    gallery = market(folder, "bounding_box_test")
    train_pids, test_pids = {pid for pid, _ in train}, {pid for pid, _ in gallery if pid > 0}
    assert train_pids == orders.train["market1501"]
    assert not train_pids & test_pids
    assert max(Counter(query).values()) == 1
    assert set(query) == {(pid, camid) for pid, camid in gallery if pid > 0}
    for pid, camid in query:
        assert any(other == pid and elsewhere != camid for other, elsewhere in gallery)
    assert {0, -1} <= {pid for pid, _ in gallery}
    sizes = {Image.open(path).size for path in (folder / "market1501").rglob("*.jpg")}
    assert sizes == {(64, 128)}


def test_cuhk03_names_continue_over_the_views_and_sizes_vary(dataset):
    folder, _ = dataset
    paths = sorted((folder / "cuhk03" / "images_labeled").iterdir())
    sizes = set()
    for path in paths:
        match = re.fullmatch(r"1_(\d{3})_([12])_(\d{2})\.png", path.name)
        assert match, path.name
        assert (1 <= int(match[3]) <= 5) == (match[2] == "1")
        assert int(match[3]) <= 10
        with Image.open(path) as image:
            assert 60 <= image.width <= 90 and 160 <= image.height <= 230
            sizes.add(image.size)
    assert len(sizes) > len(paths) / 4


def test_cuhk03_split_points_at_the_files_from_one(dataset):
    folder, orders = dataset
    split = loadmat(folder / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat")
    names = [row[0][0] for row in split["filelist"]]
    assert names == sorted(path.name for path in (folder / "cuhk03" / "images_labeled").iterdir())
    parts = [split[f"{part}_idx"].ravel().astype(int) - 1 for part in ("train", "query", "gallery")]
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
    labels, camids = split["labels"].ravel().astype(int), split["camId"].ravel().astype(int)
    for name, label, camid in zip(names, labels, camids, strict=True):
        assert name.startswith(f"1_{label:03d}_{camid}_")
    train, query, gallery = parts
    assert set(labels[train]) == orders.train["cuhk03"]
    assert not set(labels[train]) & set(labels[query])
    assert set(labels[query]) == set(labels[gallery])
    assert max(Counter(zip(labels[query], camids[query], strict=True)).values()) == 1


def test_occluded_and_partial_have_as_many_images_in_each_folder(dataset):
    folder, _ = dataset
    occluded = {
        part: [
            str(path.relative_to(folder / "occluded_reid" / part))
            for path in sorted((folder / "occluded_reid" / part).rglob("*.tif"))
        ]
        for part in ("occluded_body_images", "whole_body_images")
    }
    assert occluded["occluded_body_images"] == occluded["whole_body_images"]
    assert all(re.fullmatch(r"(\d{3})/\1_\d{2}\.tif", name) for name in occluded["whole_body_images"])
    partial = {
        part: sorted(path.name for path in (folder / "partial_reid" / part).iterdir())
        for part in ("occluded_body_images", "partial_body_images", "whole_body_images")
    }
    assert partial["occluded_body_images"] == partial["partial_body_images"] == partial["whole_body_images"]
    for name in partial["partial_body_images"]:
        assert re.fullmatch(r"\d{3}_\d{3}\.jpg", name)
        whole = Image.open(folder / "partial_reid" / "occluded_body_images" / name)
        part = Image.open(folder / "partial_reid" / "partial_body_images" / name)
        assert part.width * part.height < whole.width * whole.height


@pytest.mark.parametrize("source", SOURCES)
def test_boxes_lie_inside_existing_images_and_have_sensible_sizes(dataset, source):
    folder, orders = dataset
    rows = read_csv(folder / "annotations" / f"{source}_head_shoulder.csv")
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    upright = [order for order in orders.images if order.source == source and order.framing.miss == 0]
    assert len(rows) > 0.6 * len(upright)
    for row in rows:
        with Image.open(image_folder(folder, source) / row["file"]) as image:
            width, height = image.size
        x1, y1, x2, y2 = (int(row[key]) for key in ("x1", "y1", "x2", "y2"))
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        missed = row["file"].startswith(("bounding_box_test/-1", "bounding_box_test/0000"))
        if not missed and "partial_body" not in row["file"]:
            assert 0.18 < (y2 - y1) / height < 0.4
            assert y1 < 0.2 * height
            assert x2 - x1 > 0.12 * width


@pytest.mark.parametrize("source", SOURCES)
def test_every_identity_has_one_clothing_label(dataset, source):
    folder, orders = dataset
    rows = read_csv(folder / "annotations" / f"{source}_clothing.csv")
    assert {int(row["pid"]): row["colour"] for row in rows} == orders.colours[source]
    assert len(rows) == len(orders.colours[source])
    assert {row["colour"] for row in rows} <= {"black", "white", "other"}


def test_colour_groups_are_shared_by_forty_thirty_thirty_per_cent():
    colours = plan(0, 150, 1500).colours
    groups = Counter(group for source in colours.values() for group in source.values())
    assert groups["black"] / 150 == pytest.approx(0.4, abs=0.03)
    assert groups["white"] / 150 == pytest.approx(0.3, abs=0.03)


def test_clothing_labels_tell_the_torso_colour():
    pose = Pose(phase=0.0, stride=0.0, arms=0.2, elbow=0.2, spread=0.2, look=(0.0, 0.0, 0.0))
    brightness = {}
    for group in ("black", "white"):
        values = []
        for i in range(5):
            person = replace(sample_identity(generator("torso", group, i), group), bag="none", hair="short")
            sprite = draw_person(person, pose, generator(i), 160, np.pi, 0.1, np.array([0.0, 0.8, 0.6]))
            middle = sprite.colour.shape[1] // 2
            patch = sprite.colour[55:70, middle - 8 : middle + 8]
            values.append(float(np.median(patch)))
        brightness[group] = values
    assert max(brightness["black"]) < 0.3 < 0.5 < min(brightness["white"])


@pytest.mark.parametrize("yaw", [0.0, np.pi / 2, np.pi])
def test_the_box_bounds_the_drawn_head_and_shoulders_exactly(yaw):
    person = sample_identity(generator("boxed"), "other")
    pose = Pose(phase=1.0, stride=0.4, arms=0.4, elbow=0.3, spread=0.2, look=(0.1, 0.0, 0.0))
    sprite = draw_person(person, pose, generator(0), 200, yaw, 0.2, np.array([0.0, 0.8, 0.6]))
    rows, columns = np.nonzero(sprite.head_shoulders > 0)
    x1, y1, x2, y2 = sprite.box
    assert (columns.min(), columns.max() + 1) == (np.floor(x1), np.ceil(x2))
    assert (rows.min(), rows.max() + 1) == (np.floor(y1), np.ceil(y2))
    assert 0.22 < (y2 - y1) / sprite.alpha.shape[0] < 0.36


def test_a_head_that_is_cut_off_gets_no_box():
    person = sample_identity(generator("cut"), "white")
    camera = Camera((0, "market1501", 0), 0)
    framing = Framing(size=(64, 128), miss=1.0, blocked=0.0)
    photos = [camera.photograph(person, generator("cut", i), framing) for i in range(30)]
    boxes = [photo.box for photo in photos]
    assert None in boxes and any(boxes)
    empty = camera.photograph(None, generator("nobody"), framing)
    assert empty.box is None


def test_ellipsoid_covers_its_area_and_the_nearer_one_hides_the_other():
    canvas = Canvas(100, 100, View(yaw=0.0, pitch=0.0, perspective=0.0, scale=100, x=50, ground=100))
    canvas.ellipsoid(np.array([0, 0.5, 0]), (0.3, 0.2, 0.1), plain((1, 0, 0)), HEAD)
    assert (canvas.part > 0).sum() == pytest.approx(np.pi * 30 * 20, rel=0.02)
    canvas.ellipsoid(np.array([0, 0.5, -0.5]), (0.3, 0.2, 0.1), plain((0, 1, 0)), HEAD)
    assert tuple(canvas.colour[50, 50]) == (1, 0, 0)
    canvas.ellipsoid(np.array([0, 0.5, 0.5]), (0.1, 0.1, 0.1), plain((0, 0, 1)), HEAD)
    assert tuple(canvas.colour[50, 50]) == (0, 0, 1)
    assert np.allclose(canvas.normal[50, 50], (0, 0, 1), atol=0.1)


def test_loft_turned_sideways_is_as_wide_as_it_is_deep():
    for yaw, width in ((0.0, 40), (np.pi / 2, 20)):
        canvas = Canvas(100, 100, View(yaw=yaw, pitch=0.0, perspective=0.0, scale=100, x=50, ground=100))
        profile = [(0.0, 0.2, 0.1), (1.0, 0.2, 0.1)]
        canvas.loft(np.array([0, 0.2, 0]), np.array([0, 0.8, 0]), profile, plain((1, 1, 1)), HEAD)
        assert (canvas.part[50] > 0).sum() == pytest.approx(width, abs=1)
        assert (canvas.part[:, 50] > 0).sum() == pytest.approx(60, abs=1)


def test_too_few_images_for_the_identities_names_the_parameter(tmp_path):
    with pytest.raises(CuhsError, match=r"^synthesize\.images: 32 is too few for 150 .* set it to 600"):
        synthesize(tmp_path / "fg", seed=0, identities=150, images=32)


def test_unwritable_folder_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "fg", tmp_path / "file"):
        with pytest.raises(CuhsError, match=r"^/.*/file(/fg)?: .*") as caught:
            synthesize(folder, seed=0, identities=8, images=32)
        assert "\n" not in str(caught.value)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CuhsError, match=r"thesis\.txt"):
        synthesize(tmp_path, seed=0, identities=8, images=32)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_interrupted_run_leaves_nothing_half_made_and_keeps_the_old(tmp_path):
    folder = tmp_path / "fg"
    synthesize(folder, seed=0, identities=8, images=32)
    before = checksums(folder)

    def interrupted(orders):
        yield from orders[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(folder, seed=1, identities=8, images=32, watch=interrupted)
    assert checksums(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["fg"]


def test_contact_sheet_is_a_picture_of_many_colours(dataset):
    folder, _ = dataset
    with Image.open(folder / "contact_sheet.jpg") as sheet:
        assert sheet.width > 1000
        assert np.asarray(sheet).std() > 20
