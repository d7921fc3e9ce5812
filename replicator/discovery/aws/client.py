"""The only module that calls boto3: it runs each call in a thread, and turns errors into messages that an operator can act on.

boto3 finds and refreshes the credentials (environment, profile, container, instance role); the settings of replicator hold none.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from replicator.errors import ActionDenied, DiscoveryError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0

ATTEMPTS = 2
"""Attempts of botocore for one call. After a failed poll the caller waits by itself, longer than botocore would."""

RETRY_CAP = 120.0
"""Longest pause in seconds between two failed polls; long, because AWS throttles callers that call too often."""

_IAM_NAMES = {"elbv2": "elasticloadbalancing"}
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_CREDENTIALS = (
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)


class Aws:
    """Client for the AWS APIs of one region.

    Args:
        region: name of the region; empty: as boto3 finds it.
        endpoint_url: URL for all calls; empty: AWS's own.
    """

    def __init__(self, *, region: str = "", endpoint_url: str = "") -> None:
        self._region = region or None
        self._endpoint = endpoint_url or None
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="aws")

    async def call(self, service: str, operation: str, **request: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # botocore's own shapes
        """Call an operation; return all pages of its answer.

        Args:
            service: boto3's name of the service, such as `elbv2`.
            operation: botocore's name of the method, such as `describe_target_health`.
            request: the parameters of the operation.

        Raises:
            ActionDenied: if the role lacks an IAM permission; names the action.
            DiscoveryError: if the call fails for any other reason.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, service, operation, request)

    def close(self) -> None:
        """Shut the threads down without waiting; a running call ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, service: str, operation: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        # Imported here because the import takes a third of a second, and only AWS users need it.
        from botocore import exceptions as failures

        try:
            client = self._client(service)
            if client.can_paginate(operation):
                return list(client.get_paginator(operation).paginate(**request))
            return [getattr(client, operation)(**request)]
        except failures.ClientError as error:
            raise _translated(error, service) from error
        except (failures.NoCredentialsError, failures.PartialCredentialsError) as error:
            raise DiscoveryError(
                f"no AWS credentials: {error}; give this instance a role, and in a container an IMDS hop limit of 2"
            ) from error
        except failures.NoRegionError as error:
            raise DiscoveryError("no AWS region is known: set discovery.region") from error
        except failures.BotoCoreError as error:
            raise DiscoveryError(f"{service} {operation}: {_short(error)}") from error
        except Exception as error:
            # botocore's parsers raise arbitrary exceptions for a malformed answer.
            raise DiscoveryError(
                f"{service} {operation}: malformed answer: {_short(error)}"
            ) from error

    def _client(self, service: str) -> Any:  # noqa: ANN401  # made at run time
        with self._lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                settings = Config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=READ_TIMEOUT,
                    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                    user_agent_extra="replicator",
                )
                self._clients[service] = boto3.session.Session(region_name=self._region).client(
                    service, endpoint_url=self._endpoint, config=settings
                )
            return self._clients[service]


def _translated(error: ClientError, service: str) -> DiscoveryError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = str(error.response.get("Error", {}).get("Message", "")) or code
    action = f"{_IAM_NAMES.get(service, service)}:{error.operation_name}"
    if code in _DENIED:
        return ActionDenied(action, text)
    if code in _CREDENTIALS:
        return DiscoveryError(f"{action}: the credentials are refused ({code}): {text}")
    return DiscoveryError(f"{action}: {code}: {text}" if code != text else f"{action}: {code}")


def _short(error: Exception) -> str:
    """Return the first line of an error, at most 300 characters: botocore's parsers quote the whole answer."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
