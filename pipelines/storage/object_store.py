"""Folders and files in an S3 bucket, addressed by their content.

``CUHS_STORE=s3://bucket/prefix`` names the place and ``AWS_ENDPOINT_URL`` the server. Credentials come from AWS's
usual places (variables, files, roles). The prefix holds::

    objects/SHA256       a file's bytes; an object that exists is not sent again
    trees/DIGEST.json    a manifest (pipelines/storage/trees.py); written last, so a tree without one does not exist

Every upload and download is verified. After an upload, the server's own SHA-256 of the object (S3 checks it against
the bytes it received, part by part) must equal the file's; if the server keeps none, the bytes are read back. After a
download, the file's SHA-256 is compared; a damaged object is fetched once more and then refused.

Failures that may pass (no answer, 5xx) are retried with growing pauses for ``patience_s``. After a killed push, the
next one sends unfinished files again and removes what was left of them on the server.
"""

import copy
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError

from cuhs.errors import CuhsError
from pipelines.storage.s3_errors import ABSENT, S3_ERRORS, code_of
from pipelines.storage.transfer import FILES_AT_ONCE, PARTS_AT_ONCE, Moved, OnProgress, Transfer
from pipelines.storage.trees import (
    LARGEST_MANIFEST,
    DamagedTree,
    Entry,
    Sums,
    Tree,
    check_digest,
    files_of,
    is_entry,
    make_room,
    make_tree,
    read_tree,
    replace,
    sums,
)

VARIABLE = "CUHS_STORE"
PATIENCE_S = 120.0
# No upload takes that long; an older one was abandoned.
ABANDONED = timedelta(days=2)

log = logging.getLogger(__name__)


class ObjectStore:
    """Trees below one prefix of a bucket.

    Args:
        url: ``s3://bucket/prefix``; the prefix may be empty.
        patience_s: how long failing requests are retried.

    Raises:
        CuhsError: ``url`` is not such an address, or the AWS settings are not understood.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        scheme, _, rest = url.partition("://")
        self.bucket, _, prefix = rest.rstrip("/").partition("/")
        if scheme != "s3" or not self.bucket:
            raise CuhsError(f"{VARIABLE}: {url!r} is not an address of the form s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self.patience_s = patience_s
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            # A few quick retries for failures that last a moment; `patience_s` covers longer ones.
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=FILES_AT_ONCE + PARTS_AT_ONCE,
        )
        try:
            self._client = boto3.Session().client("s3", config=config)
        except (*S3_ERRORS, ValueError) as error:  # boto3 raises ValueError if the endpoint is not an address
            raise CuhsError(f"{url}: {error}; correct the AWS settings") from error

    @classmethod
    def from_environment(cls) -> Self:
        """The store that ``CUHS_STORE`` names.

        Raises:
            CuhsError: it is unset or not an address.
        """
        url = os.environ.get(VARIABLE, "")
        if not url:
            raise CuhsError(f"{VARIABLE}: not set; name a folder of an S3 bucket, {VARIABLE}=s3://bucket/prefix")
        return cls(url)

    @property
    def url(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    def within(self, *names: str) -> Self:
        """The store at a prefix below this one, with its own trees and objects."""
        inner = copy.copy(self)
        inner._prefix = self._prefix + "".join(f"{name}/" for name in names)
        return inner

    def push(self, path: Path, progress: OnProgress | None = None) -> str:
        """Store a folder or a file; objects whose checksum matches are not sent again.

        Args:
            path: the folder or file. Links to files in it are followed, links to folders are refused.
            progress: called with (done, total) bytes from several threads, but never by two at once.

        Returns:
            The tree's digest.

        Raises:
            CuhsError: the path cannot be read or changed meanwhile, or the store failed.
        """
        files = files_of(path)
        total = sum(file.stat().st_size for _, file in files)
        with self._transfer(total, progress) as transfer:
            found = transfer.each(lambda item: (*item, transfer.insist(lambda _: sums(item[1]))), files)
            different = {s.sha256: (file, s) for _, file, s in found}
            transfer.count(total - sum(s.size for _, s in different.values()))
            transfer.each(lambda item: self._put(transfer, *item), different.values())
            tree = make_tree(Entry(relative, s.size, s.sha256) for relative, _, s in found)
            transfer.insist(lambda _: self._put_manifest(tree))
            objects = {self._prefix + f"objects/{digest}" for digest in different}
            self._abort_uploads(lambda key, old: old or key in objects)
        return tree.digest

    def holds(self, digest: str) -> bool:
        """Whether a tree is here.

        Raises:
            CuhsError: the store failed.
        """
        return digest in self.trees(digest)

    def trees(self, start: str = "") -> list[str]:
        """The digests of all trees that begin with ``start``, sorted.

        Raises:
            CuhsError: the store failed.
        """
        found = (re.fullmatch(r"trees/([0-9a-f]{64})\.json", key) for key in self._keys(f"trees/{start}"))
        return [match[1] for match in found if match]

    def tree(self, digest: str) -> Tree:
        """A tree's manifest.

        Raises:
            DamagedTree: its manifest is damaged or hostile.
            CuhsError: the tree is not here, or the store failed.
        """
        check_digest(digest)
        with self._transfer() as transfer:
            return transfer.insist(lambda _: read_tree(self._get_manifest(digest), digest))

    def pull(self, digest: str, target: Path, progress: OnProgress | None = None) -> None:
        """Fetch a tree. ``target`` stays unchanged until the tree is here whole, and is then replaced.

        A killed pull leaves what it fetched beside the target, and the next pull does not fetch it again.

        Args:
            digest: what :meth:`push` returned.
            target: path for the folder or file; do not run two pulls to it at once.
            progress: as for :meth:`push`.

        Raises:
            DamagedTree: the tree is damaged.
            CuhsError: the tree is not here, the disk is full, or the store failed.
        """
        partial = target.with_name(f".{target.name}.{check_digest(digest)[:16]}.part")
        self.fill(self.tree(digest), partial, progress)
        with self._transfer() as transfer:
            transfer.insist(lambda _: replace(partial, target))

    def fill(self, tree: Tree, root: Path, progress: OnProgress | None = None) -> None:
        """Make ``root`` hold exactly this tree: check every file there, and fetch only those that differ.

        A file is replaced only when its new content is whole, and correct files are never touched, so they can be
        read meanwhile.

        Args:
            tree: what :meth:`tree` returned.
            root: path for the tree.
            progress: as for :meth:`push`.

        Raises:
            CuhsError: as for :meth:`pull`.
        """
        places = list(tree.places(root))
        with self._transfer(tree.size, progress) as transfer:
            transfer.insist(lambda _: make_room(root, [place for _, place in places]))
            right = transfer.each(lambda item: is_entry(item[1], item[0]), places)
            wrong = [item for item, is_right in zip(places, right, strict=True) if not is_right]
            needed = sum(entry.size for entry, _ in wrong)
            transfer.count(tree.size - needed)
            if needed > (free := shutil.disk_usage(root.parent).free):
                raise CuhsError(f"{root}: the disk is full; {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free")
            transfer.each(lambda item: self._get(transfer, *item), wrong)

    def children(self) -> list[str]:
        """The names of the prefixes directly below this one, sorted.

        Raises:
            CuhsError: the store failed.
        """
        return sorted({key.partition("/")[0] for key in self._keys() if "/" in key})

    def delete(self) -> None:
        """Remove everything below this prefix, manifests first.

        Raises:
            CuhsError: the store failed, or is a whole bucket.
        """
        if not self._prefix:
            raise CuhsError(f"{self.url}: a whole bucket is not deleted; name a prefix")
        with self._transfer() as transfer:
            keys = self._keys()
            manifests = {key for key in keys if f"/{key}".rpartition("/")[0].endswith("/trees")}
            for part in (sorted(manifests), sorted(set(keys) - manifests)):
                transfer.each(lambda key: self._delete(transfer, key), part)
        self._abort_uploads(lambda key, old: True)

    def _transfer(self, total: int = 0, progress: OnProgress | None = None) -> Transfer:
        return Transfer(self._client, self.url, self.patience_s, total, progress)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._prefix + key}

    def _keys(self, start: str = "") -> list[str]:
        """The keys below the prefix that begin with ``start``, sorted."""

        def listed(_: Moved) -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._prefix + start
            )
            return sorted(
                item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", [])
            )

        with self._transfer() as transfer:
            return transfer.insist(listed)

    def _put(self, transfer: Transfer, path: Path, wanted: Sums) -> None:
        def put(moved: Moved) -> None:
            if self._is_there(key, wanted):
                return moved(wanted.size)
            transfer.upload(path, self._prefix + key, moved)
            if not self._is_there(key, wanted):
                self._client.delete_object(**self._at(key))
                if sums(path) != wanted:
                    raise CuhsError(f"{path}: changed while it was stored; run the command again")
                raise DamagedTree(f"{self.url}/{key}: not what was sent of {path}")

        key = f"objects/{wanted.sha256}"
        transfer.insist(put)

    def _is_there(self, key: str, wanted: Sums) -> bool:
        try:
            head = self._client.head_object(**self._at(key), ChecksumMode="ENABLED")
        except ClientError as error:
            if code_of(error) in ABSENT:
                return False
            raise
        if head["ContentLength"] != wanted.size:
            return False
        if "ChecksumSHA256" in head:
            return bool(head["ChecksumSHA256"] == wanted.at_server)
        read = sha256()
        for chunk in self._client.get_object(**self._at(key))["Body"].iter_chunks(2**20):
            read.update(chunk)
        return read.hexdigest() == wanted.sha256

    def _get(self, transfer: Transfer, entry: Entry, place: Path) -> None:
        def get(moved: Moved) -> None:
            try:
                transfer.download(f"{self._prefix}objects/{entry.sha256}", fetched, entry.size, moved)
            except ClientError as error:
                if code_of(error) in ABSENT:
                    raise DamagedTree(f"{self.url}: object {entry.sha256} is gone; push its tree again") from error
                raise
            except FlexibleChecksumError as error:
                raise damaged from error
            if not is_entry(fetched, entry):
                raise damaged
            fetched.replace(place)

        fetched = place.with_name(f".{uuid.uuid4().hex}.part")
        damaged = DamagedTree(f"{self.url}: object {entry.sha256} ({place.name}) is damaged; push its tree again")
        try:
            transfer.insist(get)
        finally:
            fetched.unlink(missing_ok=True)

    def _delete(self, transfer: Transfer, key: str) -> None:
        transfer.insist(lambda _: self._client.delete_object(**self._at(key)))

    def _put_manifest(self, tree: Tree) -> None:
        where = self._at(f"trees/{tree.digest}.json")
        self._client.put_object(**where, Body=tree.to_json(), ChecksumAlgorithm="SHA256")

    def _get_manifest(self, digest: str) -> bytes:
        try:
            # Of a larger one, this is a part, whose checksum differs.
            return bytes(self._client.get_object(**self._at(f"trees/{digest}.json"))["Body"].read(LARGEST_MANIFEST))
        except ClientError as error:
            if code_of(error) in ABSENT:
                raise CuhsError(f"{self.url}: there is no tree {digest}; push it first") from error
            raise

    def _abort_uploads(self, unwanted: Callable[[str, bool], bool]) -> None:
        """Remove unfinished uploads for which ``unwanted(key, old)`` is true."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._prefix)
        with suppress(*S3_ERRORS):  # this only cleans up; the actual work is done
            for upload in [upload for page in pages for upload in page.get("Uploads", [])]:
                if unwanted(upload["Key"], upload["Initiated"] < datetime.now(UTC) - ABANDONED):
                    where = {"Bucket": self.bucket, "Key": upload["Key"]}
                    self._client.abort_multipart_upload(**where, UploadId=upload["UploadId"])
