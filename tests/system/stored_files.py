"""Files that tests store and compare."""

from pathlib import Path
from typing import Any

import numpy as np

from infra.local.seaweed import Seaweed
from pipelines.storage.object_store import ObjectStore

MIB = 2**20


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def unfinished_uploads(s3: Seaweed, store: ObjectStore) -> list[Any]:
    return s3.client().list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
