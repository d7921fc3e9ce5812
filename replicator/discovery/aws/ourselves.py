"""Who is not a frontend: this backend, which may well stand behind the same load balancer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from replicator.discovery.aws.metadata import own_instance
from replicator.errors import DiscoveryError


class Ourselves:
    """Knows instances and addresses that are none of ours.

    Args:
        exclude: instance ids and addresses; empty: this instance is found out, once.
    """

    def __init__(self, exclude: Iterable[str]) -> None:
        self._excluded = frozenset(exclude)

    async def notes(self) -> list[str]:
        """Find out, if that is still to be done; return what a person should know about it."""
        if self._excluded:
            return []
        try:
            self._excluded = frozenset([await asyncio.to_thread(own_instance)])
        except DiscoveryError as error:
            return [
                f"which instance this backend is is not known ({error}): if it is a target too, name it in discovery.exclude"
            ]
        return []

    def are(self, identity: str, host: str) -> bool:
        """Return True for an instance, or an address, that is none of ours."""
        return identity in self._excluded or host in self._excluded
