"""The built dataset on disk: Parquet shards of encoded images with their labels.

``ROOT/{train,query,gallery}/SOURCE-00000.parquet`` and ``ROOT/dataset.json``. One row is one image:

=================  ======================  =====================================================
column             type                    meaning
=================  ======================  =====================================================
image              binary                  the encoded image, normally the source's own file
pid                string                  identity, prefixed by source: ``market1501/0002``
camid              string                  camera, prefixed by source: ``market1501/1``
source             string                  name of the source dataset
colour             string                  upper-body clothing: ``black``, ``white`` or ``other``
colour_origin      string, null            ``label`` (a file) or ``classifier``; null: not labelled
colour_confidence  float32, null           the classifier's probability of the colour
box                list<float32>, null     head-shoulder x1 y1 x2 y2 in [0, 1] of width and height
box_origin         string, null            ``annotation``, ``keypoints``, ``detected`` or ``fixed``
path               string                  path of the file, relative to the source's folder
groups             list<string>            evaluation groups of the row, always including ``all``
junk               bool                    ignored in ranking (Market-1501's pid -1)
=================  ======================  =====================================================
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from cuhs.documents import Document
from cuhs.errors import CuhsError, cut

SPLITS = ("train", "query", "gallery")
REBUILD = "rebuild it: dvc repro -f build_dataset"


class _Summary(BaseModel):
    """What others read of ``dataset.json``."""

    model_config = ConfigDict(extra="allow")

    version: str
    name: str
    protocol: str
    groups: dict[str, dict[str, dict[str, int]]]


_SUMMARY = Document(_Summary, "a dataset's summary", "build the dataset first (dvc repro build_dataset)")

SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),
        pa.field("pid", pa.string(), nullable=False),
        pa.field("camid", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("colour", pa.string(), nullable=False),
        pa.field("colour_origin", pa.string()),
        pa.field("colour_confidence", pa.float32()),
        # A list of variable size: Parquet cannot read back a null among lists of fixed size.
        pa.field("box", pa.list_(pa.float32())),
        pa.field("box_origin", pa.string()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("groups", pa.list_(pa.string()), nullable=False),
        pa.field("junk", pa.bool_(), nullable=False),
    ]
)


def write_shard(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the columns of :data:`SCHEMA` to a Parquet file, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shard_content(rows))


def shard_content(rows: Iterable[dict[str, Any]]) -> bytes:
    """Encode rows with the columns of :data:`SCHEMA` as a Parquet file; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    # Encoded images do not compress further, and the label columns are tiny beside them.
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), sink, compression="none")
    return sink.getvalue().to_pybytes()


def read_split(root: Path, split: str, columns: list[str] | None = None) -> pa.Table:
    """Read all rows of one split, with shards in sorted order.

    Raises:
        CuhsError: the split has no shard, or a shard cannot be read.
    """
    shards = sorted((root / split).glob("*.parquet"))
    if not shards:
        raise CuhsError(f"{root / split}: no Parquet shard here; build the dataset first (dvc repro build_dataset)")
    wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(column) for column in columns])
    tables = []
    for shard in shards:
        if not shard.is_file():
            raise CuhsError(f"{shard}: not a file; {REBUILD}")
        try:
            table = pq.read_table(shard, columns=columns, partitioning=None)
            if missing := [name for name in wanted.names if name not in table.column_names]:
                raise CuhsError(f"{shard}: no column {', '.join(missing)}, so another version built it; {REBUILD}")
            tables.append(table.cast(wanted))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CuhsError(f"{shard}: unreadable shard ({cut(str(error))}); {REBUILD}") from error
    return pa.concat_tables(tables)


def read_summary(root: Path) -> dict[str, Any]:
    """Read ``dataset.json``.

    Raises:
        CuhsError: the file is missing, or not what a build writes.
    """
    return _SUMMARY.read(root / "dataset.json").model_dump()
