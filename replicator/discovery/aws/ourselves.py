"""Recognise instances that are not frontends, above all this backend: it may be a target of the same load balancer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from replicator.discovery.aws.metadata import own_instance
from replicator.errors import DiscoveryError


class Ourselves:
    """Set of instances and addresses that are not frontends.

    Args:
        exclude: instance ids and addresses. If empty, the set is this instance's id, from the instance metadata service.
    """

    def __init__(self, exclude: Iterable[str]) -> None:
        self._excluded = frozenset(exclude)

    async def notes(self) -> list[str]:
        """Ask for this instance's id if it is needed and not known yet; return what the operator should know about that."""
        if self._excluded:
            return []
        try:
            self._excluded = frozenset([await asyncio.to_thread(own_instance)])
        except DiscoveryError as error:
            return [
                f"the instance id of this backend is not known ({error}): if it is a target too, name it in discovery.exclude"
            ]
        return []

    def are(self, identity: str, host: str) -> bool:
        """Return True if an instance id or an address is not a frontend."""
        return identity in self._excluded or host in self._excluded
