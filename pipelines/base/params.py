"""``params.yaml`` as one typed, validated object.

DVC composes the file from the config groups in ``pipelines/conf`` (``dvc exp run -S data=cuhk03``). Every stage reads
it through this module.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cuhs.build.config import DatasetConfig
from cuhs.config import Config
from cuhs.data.sampler import check_share
from cuhs.documents import in_short, place
from cuhs.errors import CuhsError, cut, quoted
from cuhs.network.config import Height, InstanceStream, NetworkConfig, PartStream, Peaks, Width
from cuhs.training.config import HslTraining, ReIDTraining, Seed
from pipelines.base.yaml_files import read_yaml

Positive = Annotated[int, Field(ge=1)]
# Characters of a message of our own, which may list all that is possible.
LONG = 400
# Pixels of the image for each cell of the last feature map, for every backbone.
STRIDE = 16
# Keys of `train` that change no result, and so no training's name.
NO_RESULT = {"profile"}

Share = Annotated[float, Field(ge=0, le=1)]


class Synthesize(Config):
    """FG-Synth, the dataset that needs no download."""

    seed: Seed = 0
    identities: Annotated[int, Field(ge=8)] = 150
    images: Annotated[int, Field(ge=32)] = 1500


class Image(Config):
    """The size that images are resized to, in pixels."""

    height: Height = 384
    width: Width = 128


class Compute(Config):
    """Ray Train's workers."""

    workers: Positive = 1
    min_workers: Positive | None = Field(None, description="fewest workers to continue with after a loss; none: wait")
    gpu: Literal["auto", "yes", "no"] = "auto"
    loader_processes: Annotated[int, Field(ge=0)] = 0
    decoded_mib: Annotated[
        int, Field(ge=0, description="disk of each machine for decoded training images; 0: decode in every epoch")
    ] = 0
    cpus_per_worker: Annotated[int | None, Field(ge=1, description="at most; none: all available")] = None
    max_failures: Annotated[int, Field(ge=-1)] = 2

    @model_validator(mode="after")
    def _least_and_most(self) -> "Compute":
        if self.min_workers and self.min_workers > self.workers:
            raise ValueError(f"compute.min_workers: {self.min_workers} is more than compute.workers, {self.workers}")
        return self


class Rerank(Config):
    """k-reciprocal re-ranking; the parameters have the names of its paper."""

    k1: Positive = 20
    k2: Positive = 6
    lambda_value: Share = 0.3


class Evaluate(Config):
    """Feature extraction and ranking."""

    batch: Positive = 64
    chunk_mb: Positive = 128
    compare_with: str | None = Field(
        None, description="id of an MLflow run, or a queries.csv, that the report compares with"
    )
    rerank: Rerank | None = Field(None, description="also report the measures after re-ranking; none: do not")


class Registry(Config):
    """The MLflow registry."""

    model: str = Field("cuhs", pattern=r"^[\w-]+$", description="name of the registered model")
    metric: str = Field(
        "all/mAP",
        pattern=r"^[^/]+/(mAP|rank[1-9]\d*)$",
        description="what a challenger must improve",
    )
    p: Annotated[float, Field(gt=0, lt=1, description="largest p-value that counts as better")] = 0.05


SPACES = ("choice", "uniform", "loguniform", "integers")


class Tune(Config):
    """The search of parameters; trials are judged on held-out training identities."""

    search: Literal["optuna", "grid"] = "optuna"
    trials: Annotated[int, Field(ge=1, description="for Optuna; a grid tries every combination")] = 12
    epochs: Annotated[int | None, Field(ge=1, description="epochs of a trial; none: train.epochs")] = None
    grace_epochs: Annotated[int | None, Field(ge=1, description="before ASHA may stop a trial; none: never")] = None
    held_out: Annotated[float, Field(gt=0, lt=1, description="share of training identities to judge on")] = 0.25
    group: str = Field("all", description="the group whose mAP is maximised")
    seed: Seed = 0
    space: dict[str, dict[Literal["choice", "uniform", "loguniform", "integers"], list[Any]]] = Field(
        default_factory=dict, description="{key of this file: {choice: [...]} or {uniform: [low, high]} …}"
    )

    @model_validator(mode="after")
    def _one_range_each(self) -> "Tune":
        for key, space in self.space.items():
            if len(space) != 1 or not next(iter(space.values())):
                raise ValueError(f"space.{key}: give one of {', '.join(SPACES)} with its values")
            kind, values = next(iter(space.items()))
            if kind != "choice" and self.search == "grid":
                raise ValueError(f"space.{key}: a grid needs `choice`, not `{kind}`")
            if kind != "choice" and not (len(values) == 2 and values[0] < values[1]):
                raise ValueError(f"space.{key}: `{kind}` needs [low, high], got {values}")
        return self


class Exploration(Config):
    """What the data's configuration chooses for the IN streams of all variants."""

    top_k: Peaks = Field(5, description="`top_k` of the variants; for one experiment set network.streams.in.top_k")


class Tracking(Config):
    """MLflow."""

    experiment: str = Field("cuhs", min_length=1, max_length=500, description="of MLflow, whose limit is 500")


class Params(Config):
    """All of ``params.yaml``."""

    profile: str
    variant: str
    exploration: Exploration = Exploration(top_k=5)
    synthesize: Synthesize
    data: DatasetConfig
    image: Image
    network: NetworkConfig
    pretrain_hsl: HslTraining
    train: ReIDTraining
    compute: Compute
    evaluate: Evaluate
    registry: Registry
    tune: Tune
    tracking: Tracking

    @model_validator(mode="after")
    def _maps_are_large_enough(self) -> "Params":
        rows, columns = -(-self.image.height // STRIDE), -(-self.image.width // STRIDE)
        for name, stream in self.network.streams.items():
            if (
                isinstance(stream, InstanceStream)
                and stream.branches == 2
                and stream.peaks(rows * columns) >= rows * columns
            ):
                raise ValueError(
                    f"network.streams.{name}.top_k: {stream.top_k} hides the whole {rows}×{columns} feature map of "
                    f"{self.image.height}×{self.image.width} images; choose at most {rows * columns - 1}"
                )
            if isinstance(stream, PartStream) and stream.region != "learned" and rows < 3:
                raise ValueError(f"image.height: {self.image.height} gives no map of three rows; choose 33 or more")
        return self

    @model_validator(mode="after")
    def _workers_share_batches(self) -> "Params":
        batches = {
            "train.identities × train.images_per_identity": self.train.identities * self.train.images_per_identity,
            "pretrain_hsl.batch": self.pretrain_hsl.batch,
        }
        for key, batch in batches.items():
            try:
                check_share(batch, self.compute.workers, key)
            except CuhsError as error:
                raise ValueError(str(error)) from error
        return self


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with some values replaced, by key, such as ``train.eta_1``.

    Raises:
        CuhsError: a key does not exist, or a value is impossible.
    """
    raw = params.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        place: Any = raw
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise CuhsError(f"tune.space.{key}: params.yaml has no such key")
        place[last] = value
    return parse(raw, "tune.space")


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and validate the parameters.

    Raises:
        CuhsError: the file is missing, is not YAML, or has an unknown key or an impossible value;
            the message names each key.
    """
    return parse(read_yaml(path, "run from the project's root"), str(path))


def parse(raw: object, origin: str = "params") -> Params:
    """Validate parameters that are already read; ``origin`` names them in errors.

    Raises:
        CuhsError: there is an unknown key or an impossible value.
    """
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise CuhsError(f"{origin}: {in_short(map(_told, error.errors()))}") from error


def _told(item: ErrorDetails) -> str:
    """One thing that is wrong with the parameters."""
    location, hint = item["loc"], cut(item["msg"].removeprefix("Value error, "), LONG)
    if location[:2] == ("network", "streams"):
        # Pydantic puts the stream's kind after its name; the file has no such key.
        location = location[:3] + location[4:]
    if item["type"] == "value_error":  # what concerns several sections names its keys itself
        return place(location) + hint
    where = place(location) or place(["(top level)"])
    if item["type"] == "extra_forbidden":
        return f"{where}unknown key"
    got = "" if item["type"] == "missing" else f", got {quoted(item['input'])}"
    if item["type"] in {"literal_error", "string_type"} and isinstance(item["input"], bool):
        got += " (YAML takes yes, no, on and off for true and false; put the word in quotes)"
    return where + hint + got
