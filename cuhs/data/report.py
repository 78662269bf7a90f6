"""A build's counts for reading: a table for the terminal and a self-contained HTML page.

The page shows images of the dataset: it stays beside the dataset and is not for publishing.
"""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, ImageDraw
from rich.table import Table

from cuhs.data.fine_grained import Row
from cuhs.data.head_shoulder_boxes import Box
from cuhs.data.images import load
from cuhs.data.shards import SPLITS

TEMPLATE = Path(__file__).with_name("report.html.j2")

SHEET_PEOPLE = 24
SHEET_COLUMNS = 12
TILE = (84, 208)  # width, height in pixels
GAP = 6
BACKGROUND = "#f3f1ec"
BOX_COLOUR = "#ff6b1a"


def counts_table(summary: dict[str, Any]) -> Table:
    """Ids and images of each split by group and by source, in the form of the paper's Table 1."""
    table = Table(title=f"{summary['name']} · {summary['protocol']} · version {summary['version'][:12]}")
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
    """One line for each kind of thing the build could not use."""
    lines = []
    if summary["quarantine"]:
        first = summary["quarantine"][0]
        lines.append(
            f"{len(summary['quarantine'])} files in quarantine, the first {first['source']}/{first['path']}: "
            f"{first['reason']}"
        )
    if summary["dropped_boxes"]:
        first = summary["dropped_boxes"][0]
        lines.append(f"{len(summary['dropped_boxes'])} boxes dropped, the first {first['file']}: {first['reason']}")
    if summary["queries_without_match"]["count"]:
        queries = summary["queries_without_match"]
        lines.append(f"{queries['count']} queries have no match in another camera, the first {queries['first'][0]}")
    if summary["left_out"]:
        lines.append(f"{summary['left_out']} images have no role in protocol {summary['protocol']}")
    return lines


def write_page(
    path: Path,
    summary: dict[str, Any],
    rows: list[Row],
    boxes: dict[tuple[str, str], Box],
    locate: Callable[[Row], Path],
) -> None:
    """Write the HTML page: counts, box coverage, what was set aside, and a contact sheet for each group.

    Args:
        path: the file to write.
        summary: the content of ``dataset.json``.
        rows: the dataset.
        boxes: (source, path) → head-shoulder box in [0, 1].
        locate: gives a row's image file.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sheets = {
        group: _sheet([row for row in rows if row.split == "query" and group in row.groups], boxes, locate)
        for group in summary["groups"]
    }
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary, splits=SPLITS, sheets=sheets, warnings=warnings(summary)
    )
    path.write_text(page + "\n", encoding="utf-8")


def _sheet(queries: list[Row], boxes: dict[tuple[str, str], Box], locate: Callable[[Row], Path]) -> str:
    """A JPEG in base64: one query of each of up to :data:`SHEET_PEOPLE` identities, spread over the group."""
    first = list({row.sample.pid: row for row in reversed(queries)}.values())[::-1]
    count = min(SHEET_PEOPLE, len(first))
    chosen = [first[number * len(first) // count] for number in range(count)]
    columns, lines = min(SHEET_COLUMNS, count), -(-count // SHEET_COLUMNS)
    sheet = Image.new("RGB", (columns * (TILE[0] + GAP) + GAP, lines * (TILE[1] + GAP) + GAP), BACKGROUND)
    for number, row in enumerate(chosen):
        tile = _tile(load(locate(row)).data, boxes.get((row.sample.source, row.sample.raw.path)))
        left = GAP + number % SHEET_COLUMNS * (TILE[0] + GAP) + (TILE[0] - tile.width) // 2
        top = GAP + number // SHEET_COLUMNS * (TILE[1] + GAP) + (TILE[1] - tile.height) // 2
        sheet.paste(tile, (left, top))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _tile(data: bytes, box: Box | None) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        scale = min(TILE[0] / image.width, TILE[1] / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        tile = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if box:
        corners = (
            box[0] * (size[0] - 1),
            box[1] * (size[1] - 1),
            box[2] * (size[0] - 1),
            box[3] * (size[1] - 1),
        )
        ImageDraw.Draw(tile).rectangle(corners, outline=BOX_COLOUR, width=2)
    return tile
