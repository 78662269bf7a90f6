"""Files in the sources' folders that nobody reads."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cuhs.raw.config import Source
from cuhs.raw.layouts import cuhk03_mat, msmt17
from cuhs.raw.sources import Listed, printable

# Kinds that a line names.
SHOWN = 5


@dataclass(frozen=True)
class Unread:
    """Files of one kind in one source that nobody reads.

    Attributes:
        source: name of the source.
        kind: their suffix in lower case, ``hidden`` (which includes a hidden folder) or ``no suffix``.
        count: how many there are.
        first: path of the first one, relative to the source's folder, as printable text.
    """

    source: str
    kind: str
    count: int
    first: str


def unread_files(
    sources: Mapping[str, Source], listed: Mapping[str, Listed], others: Iterable[Path] = ()
) -> list[Unread]:
    """List what lies in the sources' folders and is neither an image nor a stray nor an annotation file.

    Sources may share a folder: what one of them reads is read.

    Args:
        sources: the sources by name, with absolute paths.
        listed: images and strays of each source.
        others: further files that are read.
    """
    read = {str(path.absolute()) for path in others}
    for source, files in sources.items():
        part = listed[source]
        names = (*(image.path for image in part.images), *part.strays)
        read |= {f"{files.folder.absolute()}/{name}" for name in names}
        read |= {str(path.absolute()) for path in _annotations(files)}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, files in sources.items():
        for path in _tree(files.folder.absolute(), frozenset()):
            text = printable(str(path))
            if text not in read:
                read.add(text)
                found[source, _kind(path)].append(printable(path.relative_to(files.folder.absolute()).as_posix()))
    return [
        Unread(source, kind, len(paths), paths[0])
        for (source, kind), paths in sorted(found.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1]))
    ]


def in_words(unread: Iterable[Unread]) -> str:
    """Write the kinds in one line; empty if there is none."""
    kinds = list(unread)
    if not kinds:
        return ""
    counts = ", ".join(f"{kind.count:,} {kind.kind}" for kind in kinds[:SHOWN]) + (", …" if kinds[SHOWN:] else "")
    total, first = sum(kind.count for kind in kinds), f"{kinds[0].source}/{kinds[0].first}"
    return f"{total:,} files are read by nobody ({counts}), the first {first}"


def _annotations(files: Source) -> Iterator[Path]:
    for path in (files.clothing, files.boxes, files.split, files.keypoints):
        if path and path.is_dir():
            yield from path.iterdir()
        elif path:
            yield path
    if files.detector:
        yield Path(files.detector)
    if files.layout == "msmt17":
        yield from (files.folder / name for name, _, _ in msmt17.LISTS)
    if files.layout == "cuhk03":
        yield files.folder / cuhk03_mat.FILE


def _tree(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield all files below a folder, sorted, and hidden folders and those that cannot be listed as one each."""
    here = folder.resolve()
    if here in above:  # a link that leads back
        return
    try:
        held = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for path in held:
        if path.is_dir() and not path.name.startswith("."):
            yield from _tree(path, above | {here})
        else:
            yield path


def _kind(path: Path) -> str:
    return "hidden" if path.name.startswith(".") else path.suffix.lower() or "no suffix"
