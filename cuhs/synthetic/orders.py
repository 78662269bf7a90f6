"""Plan of FG-Synth: the identities and images of each of the four raw layouts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cuhs.errors import CuhsError
from cuhs.synthetic.camera import Framing
from cuhs.synthetic.person import generator

GROUPS = ("black", "white", "other")
# Forty, thirty and thirty per cent; every prefix has about the same mixture.
GROUP_CYCLE = ("black", "white", "other", "black", "other", "white", "black", "white", "other", "black")
CAMERAS = {"market1501": 6, "cuhk03": 2, "occluded_reid": 4, "partial_reid": 4}
MARKET = Framing(size=(64, 128))
MISSED = Framing(size=(64, 128), miss=1.0)
CUHK = Framing()
MIN_IMAGES = 4  # of each identity, on average


@dataclass(frozen=True)
class Order:
    """One image to make.

    Attributes:
        source: name of the dataset.
        path: path of the file, relative to the folder that the source's annotations refer to.
        pid: identity within the source; ``None`` for people without identity.
        camera: index of the camera within the source, from 0.
        key: seed of the image; two orders with the same key show the same scene.
        framing: how the image frames the person.
        partial: whether to keep only the part of the image that is not covered.
    """

    source: str
    path: str
    pid: int | None
    camera: int
    key: tuple[object, ...]
    framing: Framing
    partial: bool = False


@dataclass(frozen=True)
class Orders:
    """The whole dataset: its images and identities.

    Attributes:
        images: sorted by source and path.
        colours: source → pid → clothing group.
        train: source → pids for training; all other pids are for testing.
    """

    images: tuple[Order, ...]
    colours: dict[str, dict[int, str]]
    train: dict[str, frozenset[int]]


def plan(seed: int, identities: int, images: int) -> Orders:
    """Distribute identities and images: about half of the images to Market-1501, most others to CUHK03.

    Raises:
        CuhsError: there are fewer than four images for each identity.
    """
    if images < MIN_IMAGES * identities:
        raise CuhsError(
            f"synthesize.images: {images} is too few for {identities} identities; "
            f"set it to {MIN_IMAGES * identities} or more, or lower synthesize.identities"
        )
    each = min(5, images // identities // 2)  # images of an identity in each view or folder
    few = max(1, round(0.055 * identities))
    cuhk = max(2, round((0.5 * images - 5 * few * each) / (2 * each)))
    cuhk = min(cuhk, identities // 2)
    market = identities - cuhk - 2 * few
    rest = max(images - 2 * each * cuhk - 5 * each * few, 4 * market)
    pids = {
        "market1501": range(2, 2 + market),
        "cuhk03": range(1, 1 + cuhk),
        "occluded_reid": range(1, 1 + few),
        "partial_reid": range(1, 1 + few),
    }
    colours, train = {}, {}
    for source, numbers in pids.items():
        order = generator(seed, source, "split").permutation(np.array(numbers)).tolist()
        halves = (order[: len(order) // 2], order[len(order) // 2 :])
        learnt = halves[0] if source in {"market1501", "cuhk03"} else []
        groups = {pid: GROUP_CYCLE[i % 10] for half in halves for i, pid in enumerate(half)}
        colours[source] = dict(sorted(groups.items()))
        train[source] = frozenset(learnt)
    orders = [
        *_market1501(seed, pids["market1501"], train["market1501"], rest),
        *_cuhk03(seed, pids["cuhk03"], each),
        *_occluded_reid(seed, pids["occluded_reid"], each),
        *_partial_reid(seed, pids["partial_reid"], each),
    ]
    return Orders(tuple(sorted(orders, key=lambda order: (order.source, order.path))), colours, train)


def _market1501(seed: int, pids: range, train: frozenset[int], images: int) -> Iterator[Order]:
    source = "market1501"
    distractors, junk = round(0.04 * images), round(0.02 * images)
    if images - distractors - junk < 4 * len(pids):
        distractors = junk = 0
    shots, more = divmod(images - distractors - junk, len(pids))
    for n, pid in enumerate(pids):
        rng = generator(seed, source, pid, "walk")
        total = shots + (n < more)
        # At least two images in each camera, so that the gallery has one besides the query.
        count = min(int(rng.integers(2, 5)), total // 2)
        cameras = sorted(rng.permutation(CAMERAS[source])[:count].tolist())
        for place, camera in enumerate(cameras):
            taken = total // count + (place < total % count)
            frame = int(rng.integers(0, 90000))
            for i in range(taken):
                test = "query" if i == 0 else "bounding_box_test"
                folder = "bounding_box_train" if pid in train else test
                name = f"{pid:04d}_c{camera + 1}s1_{frame + 25 * i:06d}_{min(i, 1):02d}.jpg"
                yield Order(source, f"{folder}/{name}", pid, camera, (source, pid, camera, i), MARKET)
    for prefix, count in (("0000", distractors), ("-1", junk)):
        for i in range(count):
            camera = i % CAMERAS[source]
            name = f"{prefix}_c{camera + 1}s1_{25 * i:06d}_{2 + i % 7:02d}.jpg"
            # Junk is a badly cut image of a known person; a distractor is a stranger, or shows nobody.
            pid_or_none = pids[i % len(pids)] if prefix == "-1" else None
            key = (source, prefix, camera, i)
            yield Order(source, f"bounding_box_test/{name}", pid_or_none, camera, key, MISSED)


def _cuhk03(seed: int, pids: range, each: int) -> Iterator[Order]:
    for pid in pids:
        for view in (1, 2):
            for i in range(1, each + 1):
                index = i + 5 * (view - 1)
                name = f"1_{pid:03d}_{view}_{index:02d}.png"
                yield Order("cuhk03", name, pid, view - 1, ("cuhk03", pid, view, index), CUHK)


def _occluded_reid(seed: int, pids: range, each: int) -> Iterator[Order]:
    source = "occluded_reid"
    for folder, blocked in (("occluded_body_images", 1.0), ("whole_body_images", 0.0)):
        framing = Framing(size=(64, 128), blocked=blocked)
        for pid in pids:
            for i in range(1, each + 1):
                key = (source, folder, pid, i)
                path = f"{folder}/{pid:03d}/{pid:03d}_{i:02d}.tif"
                yield Order(source, path, pid, _any_camera(seed, *key), key, framing)


def _partial_reid(seed: int, pids: range, each: int) -> Iterator[Order]:
    source = "partial_reid"
    for folder in ("occluded_body_images", "partial_body_images", "whole_body_images"):
        whole = folder == "whole_body_images"
        framing = Framing(heights=(124, 195), widths=(44, 79), blocked=0.0 if whole else 1.0)
        for pid in pids:
            for i in range(1, each + 1):
                # A partial image is cut out of the occluded image with the same number.
                key = (source, "whole" if whole else "occluded", pid, i)
                path = f"{folder}/{pid:03d}_{i:03d}.jpg"
                camera = _any_camera(seed, *key)
                yield Order(source, path, pid, camera, key, framing, partial=folder == "partial_body_images")


def _any_camera(seed: int, source: str, *key: object) -> int:
    return int(generator(seed, source, *key, "camera").integers(CAMERAS[source]))
