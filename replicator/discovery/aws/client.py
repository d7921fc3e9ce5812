"""The one door to boto3: calls in a thread, and errors that an operator can act on.

Credentials come by the standard chain (environment, profile, container, instance role) and are refreshed by it; there is no
place for a key in our settings.
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
"""Tries of one call; between looks we wait by ourselves, longer than botocore would."""

RETRY_CAP = 120.0
"""Seconds: the longest pause between two looks that fail. An API that throttles asks for fewer calls."""

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
    """Makes calls in one region.

    Args:
        region: its name; empty: what the standard chain says.
        endpoint_url: another address for all calls; empty: AWS's own.
    """

    def __init__(self, *, region: str = "", endpoint_url: str = "") -> None:
        self._region = region or None
        self._endpoint = endpoint_url or None
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="aws")

    async def call(self, service: str, operation: str, **request: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # botocore's own shapes
        """Make a call; return its answer, page by page.

        Args:
            service: as boto3 names it, such as `elbv2`.
            operation: as botocore names the method, such as `describe_target_health`.
            request: its parameters.

        Raises:
            ActionDenied: names the IAM action that is missing.
            DiscoveryError: any other failure.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, service, operation, request)

    def close(self) -> None:
        """Let go of the threads; a call under way ends by its own time limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, service: str, operation: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        from botocore import (
            exceptions as failures,
        )  # late: it takes a third of a second, and only AWS needs it

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
            # botocore's parsers raise what they like at an answer that is none.
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
    """Return an error's first line: a parser quotes the whole answer."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
