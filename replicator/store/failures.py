"""Turn exceptions of botocore into sentences that an operator can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from replicator.errors import ReplicatorError, StoreError

ABSENT = ("NoSuchKey", "NotFound", "404")
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
UNKNOWN = ("NotImplemented", "501")
"""Answers of a store that knows no conditions."""

_DENIED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
}
"""Names of IAM actions that differ from the operation's name."""


def code_of(error: Any) -> str:  # noqa: ANN401  # a ClientError, whose module is imported late
    """Return the code of the store's answer."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise StoreError instead of botocore's exceptions; `where` is shown, such as `s3://bucket`."""
    from botocore import exceptions as failures  # late: the import takes a third of a second

    try:
        yield
    except ReplicatorError:
        raise
    except failures.ClientError as error:
        raise StoreError(f"{where}: {_refusal(error)}") from error
    except (failures.NoCredentialsError, failures.PartialCredentialsError) as error:
        raise StoreError(
            f"{where}: no credentials: {error}; give this instance a role, and in a container an IMDS hop limit of 2"
        ) from error
    except failures.HTTPClientError as error:
        cause = error.kwargs.get("error")
        if isinstance(cause, ReplicatorError):  # raised by a Pace
            raise cause from error
        raise StoreError(f"{where}: it cannot be reached: {_short(error)}") from error
    except failures.BotoCoreError as error:
        raise StoreError(f"{where}: {_short(error)}") from error
    except OSError as error:
        raise StoreError(f"{where}: the connection was lost: {_short(error)}") from error
    except Exception as error:
        # botocore's parsers raise arbitrary exceptions for a malformed answer.
        raise StoreError(f"{where}: malformed answer: {_short(error)}") from error


def _refusal(error: Any) -> str:  # noqa: ANN401
    code, operation = code_of(error), error.operation_name
    text = str(error.response.get("Error", {}).get("Message", "")) or code
    action = f"s3:{ACTIONS.get(operation, operation)}"
    if code in _DENIED:
        return f"the permission {action} is missing: {text}"
    if code == "NoSuchBucket":
        return "there is no such bucket"
    return f"{operation}: {code}: {text}"[:300] if code != text else f"{operation}: {code}"


def _short(error: Exception) -> str:
    """Return the first line of an error, at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
