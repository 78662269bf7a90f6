"""Building a dataset: raw folders in, Parquet shards, ``dataset.json`` and ``dataset.html`` out."""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from cuhs.data.fine_grained import Row, benchmark, fg_reid, fg_reid_v2
from cuhs.data.head_shoulder_boxes import Box, normalise
from cuhs.data.images import BadImage, Encoded, load
from cuhs.data.records import RawImage, Sample
from cuhs.data.report import write_page
from cuhs.data.shards import SPLITS, write_shard
from cuhs.data.sources import Listed, SourceFiles, list_source
from cuhs.data.summary import summarise
from cuhs.errors import CuhsError

Protocol = Literal["benchmark", "fg_reid", "fg_reid_v2"]
Progress = Callable[[str, int, int], None]

SHARD_ROWS = 2_000
SHARD_BYTES = 256 * 2**20

# Images in memory at once, beyond the shard that is being filled.
_IN_FLIGHT = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Checked:
    """What decoding every image showed.

    Attributes:
        samples: the usable images.
        boxes: (source, path) → box in [0, 1].
        quarantine: ``source``, ``path`` and ``reason`` of each file that is not used.
        dropped_boxes: ``source``, ``file`` and ``reason`` of each annotation that is not used.
    """

    samples: list[Sample]
    boxes: dict[tuple[str, str], Box]
    quarantine: list[dict[str, str]]
    dropped_boxes: list[dict[str, str]]


def build(
    *,
    name: str,
    protocol: Protocol,
    sources: dict[str, SourceFiles],
    out: Path,
    seed: int = 0,
    test_share: float = 0.5,
    other_share: float = 0.3,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Build the dataset ``out`` and return the content of its ``dataset.json``.

    Every image is decoded; bad files go to the quarantine list. The same files, arguments and library
    versions give the same bytes. ``out`` is replaced as a whole, at the end; an earlier dataset there stays
    until then.

    Args:
        name: the dataset's name.
        protocol: see :mod:`cuhs.data.fine_grained`.
        sources: raw datasets by the name that namespaces their identities and cameras.
        out: the folder to write; absent, empty, or holding an earlier dataset.
        seed: of every choice the protocol makes.
        test_share: share of identities for testing, for sources that publish no split.
        other_share: people in other clothes for each person of a group (``fg_reid``).
        progress: called with the step's name, images done, and images in all.

    Raises:
        CuhsError: a source or annotation file is missing or wrong, no image is usable, the protocol finds an
            identity in both training and testing or no query, or ``out`` cannot be written.
    """
    _check_out(out)

    def locate(row: Row) -> Path:
        return sources[row.sample.source].folder / row.sample.raw.path

    listed = {source: list_source(source, files) for source, files in sorted(sources.items())}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        checked = _check(sources, listed, pool, progress)
        rows = _place(checked.samples, protocol, seed, test_share, other_share)
        unfinished = out.with_name(f".{out.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            shards = _write(rows, checked.boxes, locate, unfinished, pool, progress)
            summary = {
                "name": name,
                "protocol": protocol,
                "seed": seed,
                "version": _version(shards),
                **summarise(rows, checked.boxes, left_out=len(checked.samples) - len(rows)),
                "unlabelled": {source: part.unlabelled for source, part in listed.items()},
                "quarantine": checked.quarantine,
                "dropped_boxes": checked.dropped_boxes,
                "shards": shards,
            }
            (unfinished / "dataset.json").write_text(json.dumps(summary, indent=2) + "\n")
            write_page(unfinished / "dataset.html", summary, rows, checked.boxes, locate)
            if out.exists():
                shutil.rmtree(out)
            unfinished.rename(out)
        except OSError as error:
            raise CuhsError(f"{out}: cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return summary


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "dataset.json").is_file())):
        raise CuhsError(f"{out}: exists and is not a built dataset; move it away")


def _check(
    sources: dict[str, SourceFiles], listed: dict[str, Listed], pool: ThreadPoolExecutor, progress: Progress
) -> Checked:
    checked = Checked([], {}, [], [])
    for source, part in listed.items():
        folder = sources[source].folder
        checked.quarantine.extend(
            {"source": source, "path": path, "reason": "the name does not follow the layout"} for path in part.strays
        )
        sizes = _in_order(pool, partial(_size, folder), part.images)
        for done, (image, size) in enumerate(zip(part.images, sizes, strict=True), start=1):
            progress(f"check {source}", done, len(part.images))
            if isinstance(size, str):
                checked.quarantine.append({"source": source, "path": image.path, "reason": size})
                continue
            checked.samples.append(Sample(source, image, part.colours.get(image.pid, "other")))
            if image.path in part.boxes.by_path:
                box = normalise(part.boxes.by_path[image.path], *size)
                if box:
                    checked.boxes[source, image.path] = box
                else:
                    reason = f"outside the image of {size[0]}×{size[1]} pixels"
                    checked.dropped_boxes.append({"source": source, "file": image.path, "reason": reason})
        checked.dropped_boxes.extend(
            {"source": source, "file": file, "reason": "names no image of the source"}
            for file in part.boxes.unmatched
        )
    if not checked.samples:
        raise CuhsError(f"no usable image; the first bad one: {checked.quarantine[0]}")
    return checked


def _size(folder: Path, image: RawImage) -> tuple[int, int] | str:
    """Width and height, or the reason why the image cannot be used."""
    try:
        encoded = load(folder / image.path)
    except BadImage as error:
        return str(error)
    return encoded.width, encoded.height


def _place(samples: list[Sample], protocol: Protocol, seed: int, test_share: float, other_share: float) -> list[Row]:
    match protocol:
        case "benchmark":
            return benchmark(samples, seed, test_share)
        case "fg_reid":
            return fg_reid(samples, seed, test_share, other_share)
        case "fg_reid_v2":
            return fg_reid_v2(samples, seed, test_share)


def _write(
    rows: list[Row],
    boxes: dict[tuple[str, str], Box],
    locate: Callable[[Row], Path],
    out: Path,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write ``SPLIT/SOURCE-00000.parquet`` and so on; returns file, rows and sha256 of each."""

    def record(row: Row) -> dict[str, Any]:
        box = boxes.get((row.sample.source, row.sample.raw.path))
        return {
            "image": _load_again(locate(row)).data,
            "pid": row.sample.pid,
            "camid": row.sample.camid,
            "source": row.sample.source,
            "colour": row.sample.colour,
            "box": box,
            "box_origin": "annotation" if box else None,
            "path": row.sample.raw.path,
            "groups": list(row.groups),
            "junk": row.sample.junk,
        }

    parts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.split, row.sample.source].append(row)
    shards = []
    done = 0
    for split, source in sorted(parts, key=lambda part: (SPLITS.index(part[0]), part[1])):
        for number, shard in enumerate(_shards(_in_order(pool, record, parts[split, source]))):
            file = f"{split}/{source}-{number:05d}.parquet"
            write_shard(out / file, shard)
            digest = hashlib.sha256((out / file).read_bytes()).hexdigest()
            shards.append({"file": file, "rows": len(shard), "sha256": digest})
            done += len(shard)
            progress("write", done, len(rows))
    return shards


def _load_again(path: Path) -> Encoded:
    try:
        return load(path)
    except BadImage as error:
        raise CuhsError(f"{path}: changed while the dataset was built ({error}); build it again") from error


def _shards(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    shard: list[dict[str, Any]] = []
    size = 0
    for record in records:
        shard.append(record)
        size += len(record["image"])
        if len(shard) == SHARD_ROWS or size >= SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _in_order(pool: ThreadPoolExecutor, function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """``pool.map`` with a bound on how many results wait to be taken."""
    iterator = iter(items)
    while chunk := list(islice(iterator, _IN_FLIGHT)):
        yield from pool.map(function, chunk)


def _version(shards: list[dict[str, Any]]) -> str:
    lines = sorted(f"{shard['file']} {shard['rows']} {shard['sha256']}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
