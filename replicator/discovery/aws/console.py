"""What a new machine printed on its console: cloud-init shows the fingerprints of its SSH host keys there."""

from __future__ import annotations

import base64
import binascii
import re

from replicator.discovery.aws.client import Aws
from replicator.errors import ActionDenied, DiscoveryError

_BEGIN = "-----BEGIN SSH HOST KEY FINGERPRINTS-----"
_END = "-----END SSH HOST KEY FINGERPRINTS-----"
_FINGERPRINT = re.compile(r"\b\d+ (SHA256:[A-Za-z0-9+/]{43})\b")


class Ec2Console:
    """See `ports.Console`.

    Args:
        aws: makes the calls.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def fingerprints(self, identity: str) -> list[str]:
        """Return what the console shows; empty while that is nothing.

        Raises:
            DiscoveryError: it cannot be read.
        """
        try:
            # What the serial port shows now; otherwise it may be minutes old.
            pages = await self._aws.call(
                "ec2", "get_console_output", InstanceId=identity, Latest=True
            )
        except ActionDenied:
            raise
        except DiscoveryError as error:
            if "UnsupportedOperation" not in str(error):
                raise
            pages = await self._aws.call("ec2", "get_console_output", InstanceId=identity)
        return [found for page in pages for found in printed(page.get("Output") or "")]


def printed(output: str) -> list[str]:
    """Return the fingerprints in a console's output, which the API encodes in base64 and botocore may have decoded."""
    if "-----BEGIN" not in output:
        try:
            output = base64.b64decode(output, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return []
    # Cut, and not searched: with many beginnings and no end, a regular expression would look for each end anew.
    parts = [part.partition(_END) for part in output.split(_BEGIN)[1:]]
    return _FINGERPRINT.findall("\n".join(block for block, end, _ in parts if end))
