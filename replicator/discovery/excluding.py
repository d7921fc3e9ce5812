"""Leave out of a provider's answers what is not a frontend, above all this backend: it may be a target of the same load balancer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from replicator.errors import DiscoveryError
from replicator.ports import PollResult, Provider


class Excluding:
    """Implements `ports.Provider` with the answers of another provider.

    Args:
        provider: the other provider.
        exclude: hosts and identities that are not frontends.
        own_identity: returns this machine's identity, which is excluded if `exclude` is empty. It is called in a thread, with each
            poll until it raises no DiscoveryError. Default: nothing is excluded then.
    """

    def __init__(
        self,
        provider: Provider,
        exclude: Iterable[str],
        own_identity: Callable[[], str] | None = None,
    ) -> None:
        self.name = provider.name
        self.interval = provider.interval
        self.retry_cap = provider.retry_cap
        self.certain = provider.certain
        self._provider = provider
        self._excluded = frozenset(exclude)
        self._own_identity = own_identity

    async def poll(self) -> PollResult:
        """Return the frontends that are not excluded; a note if this machine's identity is needed and unknown.

        Raises:
            DiscoveryError: the poll failed, or a part of it did and the rest has only excluded frontends.
        """
        notes = await self._learn()
        found = await self._provider.poll()
        left = tuple(
            candidate
            for candidate in found.candidates
            if not self._excluded & {candidate.address.host, candidate.identity}
        )
        if found.candidates and not left and not found.complete:
            reasons = "; ".join(found.notes) or "a part of the answer is missing"
            raise DiscoveryError(f"{self.name}: only excluded frontends were found: {reasons}")
        return replace(
            found,
            candidates=left,
            unlocated=found.unlocated - self._excluded,
            notes=(*found.notes, *notes),
        )

    async def _learn(self) -> list[str]:
        """Ask for this machine's identity if it is needed and unknown; return what the operator should know about that."""
        if self._excluded or self._own_identity is None:
            return []
        try:
            self._excluded = frozenset([await asyncio.to_thread(self._own_identity)])
        except DiscoveryError as error:
            return [
                f"the instance id of this backend is not known ({error}): if it is a target too, name it in discovery.exclude"
            ]
        return []
