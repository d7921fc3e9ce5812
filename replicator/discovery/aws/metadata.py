"""Ask the EC2 instance metadata service (version 2 only) for this instance's id."""

from __future__ import annotations

import http.client
import os
from urllib.parse import urlsplit

from replicator.errors import DiscoveryError

ENDPOINT = "http://169.254.169.254"
"""Link-local address of the service. The environment variable AWS_EC2_METADATA_SERVICE_ENDPOINT overrides it, for example
with http://[fd00:ec2::254]."""

TIMEOUT = 1.0
"""Seconds. The service is local to the host, so it answers quickly; outside of EC2 nothing answers."""


def own_instance() -> str:
    """Return this instance's id. Blocks.

    Raises:
        DiscoveryError: if there is no such service, or it refuses the request.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise DiscoveryError("AWS_EC2_METADATA_DISABLED is set")
    endpoint = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ENDPOINT)
    connection = http.client.HTTPConnection(
        endpoint.hostname or "", endpoint.port or 80, timeout=TIMEOUT
    )
    try:
        connection.connect()
    except OSError as error:
        raise DiscoveryError(f"no instance metadata service answers ({error})") from error
    try:
        token = _ask(
            connection,
            "PUT",
            "/latest/api/token",
            {"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        return _ask(
            connection,
            "GET",
            "/latest/meta-data/instance-id",
            {"X-aws-ec2-metadata-token": token},
        )
    except TimeoutError as error:
        raise DiscoveryError(
            "the instance metadata service accepts connections, but its answer does not arrive: in a container it needs"
            " HttpPutResponseHopLimit=2"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DiscoveryError(f"the instance metadata service failed: {error!r}") from error
    finally:
        connection.close()


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> str:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read(1024).decode("ascii", "replace").strip()
    if answer.status != 200:
        raise DiscoveryError(f"the instance metadata service answers {answer.status} to {path}")
    if not body or answer.length:  # empty, cut off, or longer than any answer
        raise DiscoveryError(f"the answer of the instance metadata service to {path} is incomplete")
    return body
