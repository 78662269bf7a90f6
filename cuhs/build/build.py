"""Building a dataset: raw folders in, Parquet shards, ``dataset.json`` and ``dataset.html`` out."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuhs.build import fine_grained, splits
from cuhs.build.boxes.assign import detectors, with_detected_boxes, with_fixed_boxes
from cuhs.build.colours.assign import with_colours
from cuhs.build.config import DatasetConfig
from cuhs.build.gather import Progress, gather, unusual_boxes
from cuhs.build.leaks import find_leaks
from cuhs.build.packing import PlannedShard, pack, plan
from cuhs.build.parallel import Mapper, map_on_cores
from cuhs.build.report.page import write_page
from cuhs.build.scratch import Scratch
from cuhs.build.splits import Row
from cuhs.build.summary import summarise
from cuhs.errors import CuhsError
from cuhs.raw.identity_list import IdentityList, read_identity_list
from cuhs.raw.records import Sample
from cuhs.raw.sources import Listed, list_source, raw_bytes


def build(
    config: DatasetConfig,
    out: Path,
    mapper: Mapper = map_on_cores,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Build the dataset ``out`` and return the content of its ``dataset.json``.

    Every image is decoded; bad files go to the quarantine list. The same files, configuration and library versions
    give the same bytes, and a change in one source rewrites its own shards only, unless it brings a group its first
    query or takes its last. ``out`` is replaced as a whole, at the end; an earlier dataset there stays until then. A
    build that was killed or refused goes on from what ``OUT.unfinished`` holds (see :mod:`cuhs.build.scratch`).

    Args:
        config: what to build.
        out: the folder to write; absent, empty, or holding an earlier dataset.
        mapper: where images are decoded and shards are filled.
        progress: called with the step's name, images done, and images in all.

    Raises:
        CuhsError: a source or annotation file is missing or wrong, no image is usable, nobody queries, there
            is a problem that is not allowed (see :mod:`cuhs.build.leaks`), a file cannot be read or ``out`` cannot
            be written.
    """
    _check_out(out)
    sources = config.located()

    def read(row: Row) -> bytes:
        return raw_bytes(sources[row.sample.source], row.sample.raw.path)

    try:
        listed = {source: list_source(source, files) for source, files in sources.items()}
        models = detectors(sources, listed)
        own = read_identity_list(config.raw / config.identities, _people(listed)) if config.identities else None
        with Scratch(out.with_name(f"{out.name}.unfinished")) as scratch:
            gathered = gather(sources, listed, scratch, mapper, progress)
            gathered = with_detected_boxes(gathered, sources, models, scratch, progress)
            # The torso is told from the box; the fixed one says nothing of it.
            gathered = with_colours(gathered, sources, mapper, progress)
            gathered = with_fixed_boxes(gathered, sources)
            rows = _place(gathered.samples, config, own)
            leaks = find_leaks(rows, gathered.findings)
            summary = {
                "name": config.name,
                "protocol": config.protocol,
                "seed": config.seed,
                "version": "",
                **summarise(rows, gathered.origins, leaks, left_out=len(gathered.samples) - len(rows)),
                "quarantine": gathered.quarantine,
                "dropped_boxes": gathered.dropped_boxes,
                "unusual_boxes": unusual_boxes(gathered),
                "shards": [],
            }
            if refused := leaks.refused(config.allow):
                page = scratch.folder / "dataset.html"
                write_page(page, summary, rows, gathered.boxes, leaks, read, refused)
                raise CuhsError(f"{refused} (pictures: {page})")
            shards = plan(rows, gathered.findings, gathered.boxes, gathered.origins, sources)
            summary["shards"] = _fill(shards, scratch, mapper, progress)
            summary["version"] = _version(summary["shards"])
            finished = scratch.arrange({shard.file: shard.key for shard in shards})
            (finished / "dataset.json").write_text(json.dumps(summary, indent=2) + "\n")
            write_page(finished / "dataset.html", summary, rows, gathered.boxes, leaks, read)
            if out.exists():
                shutil.rmtree(out)
            finished.rename(out)
            scratch.discard()
    except OSError as error:
        raise CuhsError(f"{error.filename or out}: {error.strerror or error}; the dataset was not built") from error
    return summary


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "dataset.json").is_file())):
        raise CuhsError(f"{out}: exists and is not a built dataset; move it away")


def _people(listed: Mapping[str, Listed]) -> set[str]:
    samples = (Sample(source, image, "other") for source, part in listed.items() for image in part.images)
    return {sample.pid for sample in samples if sample.is_person}


def _place(samples: list[Sample], config: DatasetConfig, listed: IdentityList | None) -> list[Row]:
    if listed:
        rows = splits.as_listed(samples, listed, config.seed)
        if listed.groups:
            return fine_grained.listed_groups(rows, listed)
    elif config.protocol == "benchmark":
        rows = splits.as_published(samples, config.seed, config.test_share)
    else:
        rows = splits.with_training_sets(samples, config.seed, config.test_share)
    match config.protocol:
        case "benchmark":
            return fine_grained.benchmark(rows)
        case "fg_reid":
            return fine_grained.fg_reid(rows, config.seed, config.other_share, config.gallery_share)
        case "fg_reid_v2":
            return fine_grained.fg_reid_v2(rows)


def _fill(shards: list[PlannedShard], scratch: Scratch, mapper: Mapper, progress: Progress) -> list[dict[str, Any]]:
    """Fill the shards that an earlier attempt has not; returns file, rows and sha256 of each."""
    total = sum(len(shard.items) for shard in shards)
    missing = [shard for shard in shards if not scratch.shard(shard.key).exists()]
    done = total - sum(len(shard.items) for shard in missing)
    for shard, content in zip(missing, mapper(pack, missing), strict=True):
        scratch.keep(shard.key, content)
        done += len(shard.items)
        progress("write", done, total)
    return [{"file": shard.file, "rows": len(shard.items), "sha256": scratch.sha256(shard.key)} for shard in shards]


def _version(shards: list[dict[str, Any]]) -> str:
    lines = sorted(f"{shard['file']} {shard['rows']} {shard['sha256']}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
