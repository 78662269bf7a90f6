"""Stage ``build_dataset``: raw folders to the dataset that every later stage reads."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cuhs.data.build import build
from cuhs.data.report import counts_table, warnings
from cuhs.data.sources import SourceFiles
from pipelines import cli, params

OUT = Path("data/dataset")


def source_files(raw: Path, source: params.Source) -> SourceFiles:
    """The paths of a source, which ``params.yaml`` gives relative to ``data.raw``."""
    return SourceFiles(
        layout=source.layout,
        folder=raw / source.folder,
        images=source.images,
        split=raw / source.split if source.split else None,
        clothing=raw / source.clothing if source.clothing else None,
        boxes=raw / source.boxes if source.boxes else None,
    )


def main() -> None:
    """Build ``data/dataset`` as ``params.yaml`` has it."""
    data = params.load().data
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
            sources={name: source_files(data.raw, source) for name, source in data.sources.items()},
            out=OUT,
            seed=data.seed,
            test_share=data.test_share,
            other_share=data.other_share,
            progress=progress,
        )
    console.print(counts_table(summary))
    for line in warnings(summary):
        console.print(f"note: {line}", style="yellow", markup=False, highlight=False)


if __name__ == "__main__":
    cli.run(main)
