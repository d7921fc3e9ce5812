"""The agent's hello: whether backend and agent can work together, and what the agent reports about itself."""

from __future__ import annotations

import re
from typing import NamedTuple

from replicator.errors import ProtocolError
from replicator.wire import messages
from replicator.wire.messages import Hello, OpenTree

_BOOT = re.compile(r"[0-9a-f-]{1,64}")
"""A boot id, as in /proc/sys/kernel/random/boot_id."""


class AgentInfo(NamedTuple):
    """What an agent has reported about itself.

    Attributes:
        about: how it describes itself.
        features: features that both sides have; see `wire.messages.FEATURES`.
        boot: boot id of its machine; empty if it sent none, or an invalid one.
    """

    about: str = ""
    features: frozenset[str] = frozenset()
    boot: str = ""

    def unsupported(self, request: OpenTree) -> str:
        """Return which setting of a request an agent of an earlier release ignores, as a sentence; empty if none."""
        if request.durable and "durable" not in self.features:
            return "its agent is of an earlier release and does not wait for the disk (tree.durable): install this release there"
        if request.stamp and "stamp" not in self.features:
            return "its agent is of an earlier release and writes no stamp file (tree.stamp_file): install this release there"
        return ""


def check_hello(hello: Hello) -> AgentInfo:
    """Return what a hello reports about the agent.

    Raises:
        ProtocolError: if the agent has another version of the protocol, or lacks a required feature.
    """
    missing = set(messages.REQUIRED) - set(hello.features)
    if hello.version != messages.VERSION or missing:
        raise ProtocolError(
            f"the agent speaks version {hello.version} {sorted(hello.features)}, we speak {messages.VERSION}"
            f" {sorted(messages.REQUIRED)}: install the same release of replicator on both sides"
        )
    features = frozenset(messages.FEATURES) & set(hello.features)
    return AgentInfo(hello.about, features, hello.boot if _BOOT.fullmatch(hello.boot) else "")
