"""The frontends that are written in the config."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from replicator.ports import Address, Sighting


class StaticDiscovery:
    """Says one thing, once; a reload brings another one of these.

    Args:
        addresses: the frontends.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._sightings = [Sighting(address) for address in addresses]
        self._told = False

    async def sightings(self) -> list[Sighting]:
        """Return all of them at the first call; never return from the next."""
        if self._told:
            await asyncio.get_running_loop().create_future()
        self._told = True
        return self._sightings
