from pathlib import Path

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
