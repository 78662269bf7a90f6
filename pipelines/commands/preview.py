"""Shows how a raw dataset's names and annotation files are read, without opening an image."""

from collections.abc import Iterable
from typing import get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cuhs.raw import unread
from cuhs.raw.config import Source
from cuhs.raw.parts import count_parts, in_words
from cuhs.raw.records import RawImage, Sample, Split
from cuhs.raw.sources import Listed, list_source
from pipelines.base.console import console, note

SHOWN = 8

# None stands for images whose split the protocol will draw.
SPLITS: tuple[Split | None, ...] = (*get_args(Split), None)


def preview(source: str, files: Source) -> None:
    """Print some images of a source with the labels that were read, counts, and what could not be read.

    Raises:
        CuhsError: as for :func:`cuhs.raw.sources.list_source`.
    """
    listed = list_source(source, files)
    found = in_words(count_parts(files, listed.images))
    console.print(f"{source}: {found}", highlight=False, soft_wrap=True)
    console.print(_examples(source, files, listed))
    console.print(_counts(listed))
    for line in (*_notes(files, listed), unread.in_words(unread.unread_files({source: files}, {source: listed}))):
        if line:
            note(line)


def spread(images: list[RawImage], count: int = SHOWN) -> list[RawImage]:
    """Up to ``count`` images, equally many from each split, and evenly spaced in it."""
    parts = [part for split in SPLITS if (part := [image for image in images if image.split == split])]
    chosen = []
    for number, part in enumerate(parts):
        share = min((number + 1) * count // len(parts) - number * count // len(parts), len(part))
        chosen += [part[place * len(part) // share] for place in range(share)]
    return chosen


def _examples(source: str, files: Source, listed: Listed) -> Table:
    title = Text(f"{source}: {files.folder} as {files.layout}", "table.title")
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("file", "pid", "camid", "split", "colour", "box"):  # only a file's name may take several lines
        table.add_column(name, overflow="fold", no_wrap=name not in ("file", "box"))
    for image in spread(listed.images):
        sample = Sample(source, image, listed.colours.get(image.pid, "–"))
        kind = " junk" if sample.junk else " distractor" if sample.distractor else ""
        texts = (
            image.path,
            sample.pid.removeprefix(f"{source}/") + kind,
            "–" if image.camid is None else sample.camid.removeprefix(f"{source}/"),
            image.split or "drawn",
            sample.colour,
            _box(files, listed, image),
        )
        table.add_row(*map(Text, texts))
    return table


def _box(files: Source, listed: Listed, image: RawImage) -> str:
    """Where the image's box comes from, or will come from."""
    if image.path in listed.boxes.by_path:
        return listed.boxes.origin(image.path)
    steps = [*(["detected"] if files.detector else []), *(["fixed"] if files.fixed_box else [])]
    return " or ".join(steps) if steps and image.is_person else "no"


def _counts(listed: Listed) -> Table:
    columns = ("split", "images", "identities", "cameras", "with a label", "with a box")
    table = Table(*columns, box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for split in SPLITS:
        held = [image for image in listed.images if image.split == split]
        if held:
            table.add_row(split or "drawn", *(f"{count:,}" for count in _figures(held, listed)))
    table.add_section()
    table.add_row("all", *(f"{count:,}" for count in _figures(listed.images, listed)))
    return table


def _figures(images: Iterable[RawImage], listed: Listed) -> tuple[int, ...]:
    held = list(images)
    people = {image.pid for image in held if image.is_person}
    return (
        len(held),
        len(people),
        len({image.camid for image in held} - {None}),
        len(people & listed.colours.keys()),
        sum(image.path in listed.boxes.by_path for image in held),
    )


def _notes(files: Source, listed: Listed) -> list[str]:
    lines = []
    if listed.strays:
        lines.append(f"{len(listed.strays):,} images have names that do not fit the layout: {_some(listed.strays)}")
    if any(image.camid is None for image in listed.images):
        lines.append("no cameras: every image of a person can match every other image of theirs")
    if files.clothing and listed.unlabelled:
        follows = "are given a colour by the classifier" if files.classify else "count as other"
        lines.append(f"{listed.unlabelled:,} identities have no label and {follows}")
    if listed.boxes.unmatched:
        unmatched = listed.boxes.unmatched
        lines.append(f"{len(unmatched):,} rows of {files.boxes} name no image of the source: {_some(unmatched)}")
    return lines


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
