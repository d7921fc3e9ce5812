"""The frontends that are written in the config."""

from __future__ import annotations

from collections.abc import Iterable

from replicator.ports import Address, Look, Sighting


class StaticProvider:
    """Says always the same; a reload brings another one of these.

    Args:
        addresses: the frontends.
    """

    name = "static"
    interval = 3600.0
    certain = True
    retry_cap = 0.0

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._look = Look(tuple(Sighting(address) for address in dict.fromkeys(addresses)))

    async def look(self) -> Look:
        """Return all of them."""
        return self._look
