"""Stage ``build_dataset``: raw folders to the dataset that every later stage reads.

``python -m pipelines.stages.build_dataset --preview`` only shows how the sources' names and annotations are read.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cuhs.build.build import build
from cuhs.build.report.page import counts_table, warnings
from cuhs.raw.sources import SourceFiles
from pipelines.base import cli, params
from pipelines.cluster.parallel import mapper
from pipelines.commands.preview import preview

OUT = Path("data/dataset")


def source_files(raw: Path, source: params.Source) -> SourceFiles:
    """The paths of a source, which ``params.yaml`` gives relative to ``data.raw``."""
    return SourceFiles(
        layout=source.layout,
        folder=raw / source.folder,
        images=source.images,
        split=raw / source.split if source.split else None,
        pattern=source.pattern,
        clothing=raw / source.clothing if source.clothing else None,
        boxes=raw / source.boxes if source.boxes else None,
        keypoints=raw / source.keypoints if source.keypoints else None,
        detector=str(raw / source.detector) if source.detector not in (None, "coco") else source.detector,
        fixed_box=source.fixed_box,
        classify=source.classify,
    )


def main() -> None:
    """Build ``data/dataset`` as ``params.yaml`` has it, or preview it."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages.build_dataset", description=__doc__)
    parser.add_argument("--preview", action="store_true", help="show how names and annotations are read, and end")
    arguments = parser.parse_args()
    data = params.load().data
    sources = {name: source_files(data.raw, source) for name, source in data.sources.items()}
    if arguments.preview:
        for name, files in sources.items():
            preview(name, files)
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        summary = build(
            name=data.name,
            protocol=data.protocol,
            sources=sources,
            out=OUT,
            seed=data.seed,
            test_share=data.test_share,
            other_share=data.other_share,
            gallery_share=data.gallery_share.model_dump(),
            identities=data.raw / data.identities if data.identities else None,
            allow=data.allow,
            mapper=mapper(),
            progress=progress,
        )
    console.print(counts_table(summary))
    for line in warnings(summary):
        console.print(f"note: {line}", style="yellow", markup=False, highlight=False)


if __name__ == "__main__":
    cli.run(main)
