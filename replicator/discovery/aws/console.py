"""Read SSH host key fingerprints from the EC2 console, to which cloud-init prints them at the first boot."""

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
    """Implements `ports.Console` with EC2's GetConsoleOutput.

    Args:
        aws: makes the calls.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def fingerprints(self, identity: str) -> list[str]:
        """Return the fingerprints on an instance's console (`SHA256:...`); empty while there are none.

        Args:
            identity: instance id.

        Raises:
            DiscoveryError: if the console cannot be read.
        """
        try:
            # Latest: the current output of the serial console; without it the output may be minutes old. Only Nitro instances
            # support it: others answer UnsupportedOperation (EC2 API, GetConsoleOutput).
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
    """Return the fingerprints in a console's output; the API encodes it in base64, which botocore may have decoded already."""
    if "-----BEGIN" not in output:
        try:
            output = base64.b64decode(output, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return []
    # split() instead of a regular expression: on many begin markers without an end, the expression takes quadratic time.
    parts = [part.partition(_END) for part in output.split(_BEGIN)[1:]]
    return _FINGERPRINT.findall("\n".join(block for block, end, _ in parts if end))
