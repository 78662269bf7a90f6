"""What an S3 client's exceptions mean: whether to try again, and one line for the user."""

import errno

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import ConnectionError as EndpointError
from s3transfer.exceptions import RetriesExceededError

from cuhs.errors import CuhsError

# Failures of the connection.
AWAY = (
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    RetriesExceededError,
    EndpointError,
    ConnectionError,
    TimeoutError,
)
S3_ERRORS = (BotoCoreError, ClientError, Boto3Error, RetriesExceededError)

# NoSuchUpload: another process ended the upload, which happens when two send the same file.
PASSING = {"SlowDown", "RequestTimeout", "InternalError", "BadDigest", "NoSuchUpload", "XAmzContentSHA256Mismatch"}
CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem"}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}
# Answers to HEAD have no body; their code is the status.
ABSENT = {"NoSuchKey", "404", "NotFound"}
UNSAID = {"400", "401", "403"}
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def code_of(error: BaseException) -> str:
    """The server's code for an error, such as ``NoSuchBucket``; empty for errors from elsewhere."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: the server is away or busy, or bytes were lost on the way."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in PASSING or status >= 500 or status == 429
    return isinstance(error, AWAY) and not isinstance(error, SSLError)


def explained(error: BaseException, url: str, endpoint: str) -> CuhsError:
    """One line that says what is wrong and how to mend it.

    Args:
        error: an exception of boto3 or s3transfer.
        url: ``s3://bucket/prefix``.
        endpoint: the server's address.
    """
    code, bucket = code_of(error), url.split("/")[2]
    if code == "NoSuchBucket":
        return CuhsError(f"{url}: there is no bucket {bucket!r} at {endpoint}; create it or correct CUHS_STORE")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, ProfileNotFound)):
        return CuhsError(f"{url}: no credentials ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if code in CREDENTIALS:
        return CuhsError(
            f"{url}: {endpoint} does not accept the credentials ({code}); correct the AWS key and secret"
        )
    if code in SKEWED:
        return CuhsError(f"{url}: this machine's clock and that of {endpoint} differ ({code}); set the clock")
    if code in DENIED or code == "403":
        return CuhsError(f"{url}: access denied by {endpoint}; the key needs to list, read, write and delete there")
    if isinstance(error, AWAY):
        return CuhsError(f"{url}: no answer from {endpoint} ({_first_line(error)}); is the server up?")
    return CuhsError(f"{url}: {endpoint} refused ({_first_line(error)})")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
