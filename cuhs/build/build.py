"""Building a dataset: from raw folders to Parquet shards, ``dataset.json`` and ``dataset.html``."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
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
from cuhs.raw.parts import count_parts, in_words
from cuhs.raw.records import Sample
from cuhs.raw.sources import Listed, list_source, raw_bytes
from cuhs.raw.unread import unread_files


def build(
    config: DatasetConfig,
    out: Path,
    mapper: Mapper = map_on_cores,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Build the dataset ``out`` and return the content of its ``dataset.json``.

    Every image is decoded; bad files go to the quarantine list. The same files, configuration and library
    versions give the same bytes. A change in one source rewrites only its own shards, unless it adds a group's
    first query or removes its last. ``out`` is replaced as a whole at the end; until then an earlier dataset stays
    there. If a build was killed or refused, the next one continues from ``OUT.unfinished`` (see
    :mod:`cuhs.build.scratch`).

    Args:
        config: configuration of the dataset.
        out: folder to write; missing, empty, or holding an earlier dataset.
        mapper: runs the decoding of images and the filling of shards.
        progress: called with the step's name, the number of images done, and the total.

    Raises:
        CuhsError: a source or annotation file is missing or wrong, no image of a part is usable, there is no query,
            there is no training image though ``test_share`` is below 1, a problem is found that is not allowed (see
            :mod:`cuhs.build.leaks`), a file cannot be read, or ``out`` cannot be written.
    """
    _check_out(out)
    sources = config.located()

    def read(row: Row) -> bytes:
        return raw_bytes(sources[row.sample.source], row.sample.raw.path)

    try:
        listed = {source: list_source(source, files) for source, files in sources.items()}
        models = detectors(sources, listed)
        lists = [config.raw / config.identities] if config.identities else []
        own = read_identity_list(lists[0], _people(listed)) if lists else None
        parts = {source: count_parts(sources[source], part.images) for source, part in listed.items()}
        with Scratch(out.with_name(f"{out.name}.unfinished")) as scratch:
            gathered = gather(sources, listed, scratch, mapper, progress)
            gathered = with_detected_boxes(gathered, sources, models, scratch, progress)
            # Colours come before fixed boxes: a real box locates the torso, a fixed one does not.
            gathered = with_colours(gathered, sources, mapper, progress)
            gathered = with_fixed_boxes(gathered, sources)
            rows = _with_roles(gathered.samples, config, own)
            _check_roles(rows, config, parts)
            rows = _with_groups(rows, config, own)
            leaks = find_leaks(rows, gathered.findings)
            summary = {
                "name": config.name,
                "protocol": config.protocol,
                "seed": config.seed,
                "version": "",
                **summarise(rows, gathered.origins, leaks, left_out=len(gathered.samples) - len(rows)),
                "quarantine": gathered.quarantine,
                "unread": [asdict(kind) for kind in unread_files(sources, listed, lists)],
                "parts": parts,
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
        raise CuhsError(f"{out}: exists and is not a built dataset; move it away or choose another folder")


def _people(listed: Mapping[str, Listed]) -> set[str]:
    samples = (Sample(source, image, "other") for source, part in listed.items() for image in part.images)
    return {sample.pid for sample in samples if sample.is_person}


def _with_roles(samples: list[Sample], config: DatasetConfig, listed: IdentityList | None) -> list[Row]:
    if listed:
        return splits.as_listed(samples, listed, config.seed)
    if config.protocol == "benchmark":
        return splits.as_published(samples, config.seed, config.test_share)
    return splits.with_training_sets(samples, config.seed, config.test_share)


def _check_roles(rows: list[Row], config: DatasetConfig, parts: Mapping[str, dict[str, dict[str, int]]]) -> None:
    roles = {row.split for row in rows if row.sample.is_person}
    found = "; ".join(f"{source}: {in_words(counted)}" for source, counted in parts.items())
    if "train" not in roles and config.test_share < 1:
        raise CuhsError(
            f"no image is for training ({found}); add training images, or set data.test_share: 1 for a dataset that "
            "only tests"
        )
    if "query" not in roles:
        raise CuhsError(
            f"no image is a query ({found}); add queries, raise data.test_share where roles are drawn, or give test "
            "identities in data.identities"
        )


def _with_groups(rows: list[Row], config: DatasetConfig, listed: IdentityList | None) -> list[Row]:
    if listed and listed.groups:
        return fine_grained.listed_groups(rows, listed)
    match config.protocol:
        case "benchmark":
            return fine_grained.benchmark(rows)
        case "fg_reid":
            return fine_grained.fg_reid(rows, config.seed, config.other_share, config.gallery_share)
        case "fg_reid_v2":
            return fine_grained.fg_reid_v2(rows)


def _fill(shards: list[PlannedShard], scratch: Scratch, mapper: Mapper, progress: Progress) -> list[dict[str, Any]]:
    """Fill the shards that no earlier attempt filled; return file, rows and sha256 of every shard."""
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
