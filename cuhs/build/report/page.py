"""Reports of a build: a table for the terminal, and a self-contained HTML page.

The page shows images of the dataset, so it stays beside the dataset and is not for publication.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.table import Table
from rich.text import Text

from cuhs.build.decode import Key
from cuhs.build.leaks import Leaks
from cuhs.build.near_duplicates import BITS, COPY
from cuhs.build.report.histograms import images_per_camera, images_per_identity
from cuhs.build.report.sheets import Photographer
from cuhs.build.splits import Row
from cuhs.data.shards import SPLITS
from cuhs.raw.head_shoulder_boxes import ORIGINS, Box
from cuhs.raw.unread import Unread, in_words


def counts_table(summary: dict[str, Any]) -> Table:
    """Table of each split's identities and images by group and by source, in the form of the paper's Table 1."""
    title = f"{summary['name']} · {summary['protocol']} · version {summary['version'][:12]}"
    table = Table(title=Text(title, "table.title"))
    table.add_column("")
    for split in SPLITS:
        table.add_column(f"{split} #id", justify="right")
        table.add_column(f"{split} #img", justify="right")

    def add(label: str, counts: dict[str, dict[str, int]]) -> None:
        table.add_row(label, *(f"{counts[split][what]:,}" for split in SPLITS for what in ("ids", "images")))

    for group, counts in summary["groups"].items():
        add(group, counts)
    table.add_section()
    for source, counts in summary["sources"].items():
        add(source, counts)
    return table


def warnings(summary: dict[str, Any]) -> list[str]:
    """Return one line for each kind of unusable input, and for each problem that affects the results."""
    lines = []
    if summary["quarantine"]:
        first = summary["quarantine"][0]
        lines.append(
            f"{len(summary['quarantine']):,} files in quarantine, the first {first['source']}/{first['path']}: "
            f"{first['reason']}"
        )
    if line := in_words(Unread(**kind) for kind in summary["unread"]):
        lines.append(line)
    if summary["dropped_boxes"]:
        first = summary["dropped_boxes"][0]
        lines.append(f"{len(summary['dropped_boxes']):,} boxes dropped, the first {first['file']}: {first['reason']}")
    if summary["unusual_boxes"]:
        first = summary["unusual_boxes"][0]
        lines.append(
            f"{len(summary['unusual_boxes']):,} boxes differ much from the others of their source, the first in "
            f"{first['source']}/{first['file']}: {first['reason']}"
        )
    for key, text in (
        ("shared_identities", "identities are in both training and testing (allowed)"),
        ("near_duplicates", "testing images are copies of training images (allowed)"),
        ("queries_without_match", "queries have no true match from another camera and are left out of the results"),
        ("single_image_identities", "training identities have a single image, which batches repeat"),
    ):
        if summary[key]["count"]:
            first = summary[key]["first"][0]
            named = first if isinstance(first, str) else f"{first['test']} of {first['train']}"
            lines.append(f"{summary[key]['count']:,} {text}, the first {named}")
    if summary["left_out"]:
        lines.append(f"{summary['left_out']:,} images have no role in protocol {summary['protocol']}")
    return lines


def write_page(
    path: Path,
    summary: dict[str, Any],
    rows: list[Row],
    boxes: Mapping[Key, Box],
    leaks: Leaks,
    read: Callable[[Row], bytes],
    refused: str = "",
) -> None:
    """Write the HTML page: counts, histograms, contact sheets, leaks side by side, and unusable files.

    Args:
        path: file to write.
        summary: content of ``dataset.json``.
        rows: the dataset.
        boxes: head-shoulder boxes in [0, 1].
        leaks: result of the checks.
        read: returns the bytes of a row's image file.
        refused: why the dataset was not built; empty if it was.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    photographer = Photographer(read, boxes)
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        refused=refused,
        splits=SPLITS,
        notes=warnings(summary),
        per_identity=images_per_identity(rows),
        per_camera=images_per_camera(rows),
        trained=photographer.sheet(row for row in rows if row.split == "train" and row.sample.is_person),
        asked={
            group: photographer.sheet(row for row in rows if row.split == "query" and group in row.groups)
            for group in summary["groups"]
        },
        copies=photographer.pairs(leaks.copies),
        closest=photographer.pairs(leaks.closest),
        shared=[
            (pid, photographer.tile(train), photographer.tile(test))
            for pid, (train, test) in list(leaks.shared.items())[: len(summary["shared_identities"]["first"])]
        ],
        box_origins=[origin for origin in ORIGINS if any(counted[origin] for counted in summary["boxes"].values())],
        bits=BITS,
        copy=COPY,
    )
    path.write_text(page + "\n", encoding="utf-8")
