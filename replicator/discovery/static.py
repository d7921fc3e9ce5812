"""Provider of the frontends that the configuration file lists."""

from __future__ import annotations

from collections.abc import Iterable

from replicator.ports import Address, Candidate, PollResult


class StaticProvider:
    """Returns a fixed list. A reload of the configuration replaces the provider.

    Args:
        addresses: the frontends; duplicates are dropped.
    """

    name = "static"
    interval = 3600.0
    certain = True
    retry_cap = 0.0

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._look = PollResult(tuple(Candidate(address) for address in dict.fromkeys(addresses)))

    async def poll(self) -> PollResult:
        """Return the whole list."""
        return self._look
