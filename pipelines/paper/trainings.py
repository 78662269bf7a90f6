"""Trains and evaluates the rows of tables: each row with each seed, several at once where there is room."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from cuhs.errors import CuhsError
from cuhs.export import read_card
from pipelines.base.paths import MODEL, QUERIES
from pipelines.evaluation.comparison import Queries, read
from pipelines.paper.tables import PaperTable, Row
from pipelines.paper.workspace import Workspace, commit

MEASURES = ("mAP", "rank1")


@dataclass(frozen=True)
class Training:
    """One training of a row.

    Attributes:
        row: the row.
        seed: the seed of the main training; the localiser is the same for all.
        overrides: all overrides of its experiment.
    """

    row: Row
    seed: int
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"


@dataclass(frozen=True)
class Evaluated:
    """What an evaluated training gave.

    Attributes:
        queries: {measure: {group: {query: (pid, value)}}} of :data:`MEASURES`.
        mib: size of the model's parameters, in MiB.
    """

    queries: dict[str, Queries]
    mib: float


Results = dict[tuple[str, ...], Evaluated | CuhsError]


def plan(table: PaperTable, common: Sequence[str], seeds: int) -> list[Training]:
    """All trainings of a table; ``common`` are overrides for all of them."""
    return [
        Training(row, seed, (*common, *row.overrides, f"train.seed={seed}"))
        for row in table.rows
        if row.overrides
        for seed in range(seeds)
    ]


def train_all(
    trainings: Iterable[Training], jobs: int, done: Callable[[Training, Evaluated | CuhsError], None]
) -> Results:
    """Run all trainings; what has been done before is taken from DVC's run cache.

    Args:
        trainings: the trainings; equal overrides run once.
        jobs: how many run at a time.
        done: called after each with what it gave, or why it failed.

    Returns:
        {overrides: what they gave}. One that failed does not stop the others.

    Raises:
        CuhsError: there are uncommitted changes, a workspace cannot be made, or the localiser cannot be trained.
    """
    distinct = {training.overrides: training for training in trainings}
    code, free = commit(), SimpleQueue[Workspace]()
    for number in range(min(jobs, len(distinct))):
        workspace = Workspace(number)
        workspace.prepare(code)
        if number == 0:
            # All rows share data and localiser: what is made once is in the cache for the others.
            workspace.run("pretrain_hsl", next(iter(distinct)), "the localiser")
        free.put(workspace)

    def one(training: Training) -> Evaluated | CuhsError:
        workspace = free.get()
        try:
            workspace.run("evaluate", training.overrides, str(training))
            queries = {measure: read(str(workspace.folder / QUERIES), measure) for measure in MEASURES}
            found: Evaluated | CuhsError = Evaluated(
                queries, read_card(workspace.folder / MODEL).about["parameters_mib"]
            )
        except CuhsError as error:
            found = error
        finally:
            free.put(workspace)
        done(training, found)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(distinct, pool.map(one, distinct.values()), strict=True))
