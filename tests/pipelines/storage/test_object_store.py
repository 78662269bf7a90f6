from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from cuhs.errors import CuhsError
from pipelines.storage.object_store import ObjectStore
from pipelines.storage.s3_errors import explained, is_passing
from pipelines.storage.transfer import Transfer
from pipelines.storage.trees import DamagedTree


@pytest.mark.parametrize("url", ["", "bucket/x", "http://bucket", "s3://", "s3:///x"])
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUHS_STORE", url)
    with pytest.raises(CuhsError, match=r"^CUHS_STORE: .*s3://bucket/prefix"):
        ObjectStore.from_environment()


def test_stores_lie_within_one_another() -> None:
    assert ObjectStore("s3://b").within("runs", "one").url == "s3://b/runs/one"
    assert ObjectStore("s3://b/x/y/").url == "s3://b/x/y"


def test_a_tree_of_no_proper_digest_is_not_asked_for(tmp_path: Path) -> None:
    store = ObjectStore("s3://b", patience_s=0)
    for ask in (lambda: store.pull("../../x", tmp_path / "target"), lambda: store.tree("../x")):
        with pytest.raises(CuhsError, match=r"^'[./x]*': refused, it is not a tree's digest"):
            ask()
    assert not list(tmp_path.iterdir())


def test_an_endpoint_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "storage:9000")
    with pytest.raises(CuhsError, match=r"^s3://b: .*storage:9000; correct the AWS settings$"):
        ObjectStore("s3://b")


def client_error(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")  # type: ignore[arg-type]


AWAY = EndpointConnectionError(endpoint_url="http://storage")


@pytest.mark.parametrize(
    ("error", "passing", "told"),
    [
        (client_error("NoSuchBucket", 404), False, "there is no bucket 'b' at http://storage; create it"),
        (client_error("AccessDenied", 403), False, "access denied by http://storage"),
        (client_error("ExpiredToken"), False, r"does not accept the credentials \(ExpiredToken\)"),
        (client_error("RequestTimeTooSkewed", 403), False, "clock and that of http://storage differ"),
        (client_error("SlowDown", 503), True, "SlowDown"),
        (client_error("500", 500), True, "500"),
        (client_error("BadDigest"), True, "BadDigest"),
        (client_error("InvalidBucketName"), False, "InvalidBucketName"),
        (AWAY, True, "no answer from http://storage"),
        (ReadTimeoutError(endpoint_url="http://storage"), True, "no answer from http://storage"),
        (ConnectionResetError("reset"), True, "no answer from http://storage"),
        (SSLError(endpoint_url="https://storage", error="no trust"), False, "no trust"),
        (NoCredentialsError(), False, "no credentials"),
        (BotoCoreError(), False, "An unspecified error occurred"),
        (Boto3Error("odd\nin two lines"), False, r"refused \(odd\)$"),
    ],
)
def test_each_failure_is_one_line_and_only_passing_ones_are_tried_again(
    error: Exception, passing: bool, told: str
) -> None:
    assert is_passing(error) is passing
    with pytest.raises(CuhsError, match=rf"^s3://b/x: [^\n]*{told}"):
        raise explained(error, "s3://b/x", "http://storage")


@pytest.mark.parametrize("count", [[6], [4, 2], [4, -4, 6]])
def test_of_an_object_no_more_is_fetched_than_its_manifest_says(
    count: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(bucket: str, key: str, path: str, extra: None, callbacks: list[Any]) -> SimpleNamespace:
        for more in count:  # a negative one takes back what a failed try counted
            callbacks[0].on_progress(bytes_transferred=more)
        Path(path).write_bytes(b"123456")
        return SimpleNamespace(result=lambda: None)

    with Transfer(boto3.client("s3", region_name="eu-west-1"), "s3://b/x", 0) as transfer:
        monkeypatch.setattr(transfer._parts, "download", parts)
        transfer.download("x/objects/1", tmp_path / "f", 6, lambda more: None)
        with pytest.raises(DamagedTree, match="s3://b/x: x/objects/1 has more than its 5 bytes"):
            transfer.download("x/objects/1", tmp_path / "f", 5, lambda more: None)
