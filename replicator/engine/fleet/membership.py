"""Who belongs to the fleet: asks every provider again and again, and joins what they say.

A provider that fails is asked again with growing delays, and what it said last stays true; nobody else waits for it. Until
each has answered once nobody is dropped, so that a restart or a reload in the middle of an outage costs no frontend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from replicator.core.member_set import MemberSet
from replicator.core.pace import Backoff
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, PollResult, Provider, RosterMemory

log = structlog.get_logger()


@dataclass
class Watch:
    """One provider, and what it said."""

    provider: Provider
    member_set: MemberSet[Address, Candidate]
    failures: int = 0
    error: str = ""
    notes: tuple[str, ...] = ()
    asked: int = 0

    def take(self, look: PollResult) -> None:
        """Take in an answer."""
        known = self.member_set.members
        present = {s.address: s for s in look.candidates if s.decision is not Decision.DROP}
        for address, candidate in known.items():
            if candidate.identity and candidate.identity in look.unlocated:
                present.setdefault(address, candidate)
        gone = {s.address for s in look.candidates if s.decision is Decision.DROP}
        self.member_set.answer(present, gone - set(present), complete=look.complete)
        self.failures, self.error, self.notes = 0, "", look.notes


@dataclass
class Membership:
    """Keeps the fleet equal to what the providers say.

    Args:
        providers: who is asked.
        publish: called with all sightings, and whether others are to be dropped, whenever an answer came.
        chance: random numbers in 0..1, for jitter.
        memory: keeps answers across restarts.
    """

    providers: Sequence[Provider]
    publish: Callable[[list[Candidate], bool], None]
    chance: Callable[[], float]
    memory: RosterMemory | None = None
    watches: list[Watch] = field(default_factory=list)

    def __post_init__(self) -> None:
        remembered = self.memory.load() if self.memory else {}
        for provider in self.providers:
            known = {s.address: s for s in remembered.get(provider.name, ())}
            member_set = MemberSet(known, certain=provider.certain)
            self.watches.append(Watch(provider, member_set))

    async def run(self) -> None:
        """Ask until cancelled."""
        if any(watch.member_set.members for watch in self.watches):
            self._publish()
        async with asyncio.TaskGroup() as tasks:
            for watch in self.watches:
                tasks.create_task(self._follow(watch), name=f"discovery {watch.provider.name}")

    async def _follow(self, watch: Watch) -> None:
        provider = watch.provider
        backoff = Backoff(
            provider.interval, max(provider.retry_cap, provider.interval), self.chance
        )
        while True:
            watch.asked += 1
            try:
                watch.take(await provider.look())
            except DiscoveryError as error:
                self._failed(watch, str(error))
            except Exception as error:
                # A bug of ours, or of a library: what is known stays true, and the daemon goes on.
                log.exception("discovery failed", provider=provider.name)
                self._failed(watch, f"internal error: {error!r}")
            else:
                self._publish()
            jittered = provider.interval * (0.9 + 0.2 * self.chance())
            await asyncio.sleep(backoff.delay(watch.failures) if watch.failures else jittered)

    def failed(self, reason: str) -> None:
        """`run` has failed: nobody is asked until it runs again."""
        for watch in self.watches:
            watch.failures += 1
            watch.error = reason

    def _failed(self, watch: Watch, error: str) -> None:
        watch.failures += 1
        if error != watch.error:
            log.warning("discovery failed", provider=watch.provider.name, reason=error)
        watch.error = error

    def _publish(self) -> None:
        known = all(watch.member_set.answered for watch in self.watches)
        self.publish(joined(watch.member_set for watch in self.watches), known)
        if self.memory is not None:
            self.memory.save(
                {
                    watch.provider.name: list(watch.member_set.members.values())
                    for watch in self.watches
                    if not watch.provider.certain
                }
            )

    def describe(self) -> list[dict[str, Any]]:
        """Return a row for each provider, for `status`."""
        return [
            {
                "provider": watch.provider.name,
                "members": len(watch.member_set.members),
                "looks": watch.asked,
                "failures": watch.failures,
                "answered": watch.member_set.answered,
                "error": watch.error,
                "doubt": watch.member_set.doubt,
                "notes": list(watch.notes),
            }
            for watch in self.watches
        ]


def joined(member_sets: Iterable[MemberSet[Address, Candidate]]) -> list[Candidate]:
    """Return one sighting for each address that somebody sees and nobody knows to be gone.

    The first provider that names a frontend is its source; what holds it back from service, its identity, and that it is on
    its way out, may come from any.
    """
    member_sets = list(member_sets)
    dropped = {address for member_set in member_sets for address in member_set.dropped}
    found: dict[Address, Candidate] = {}
    for member_set in member_sets:
        for address, candidate in member_set.members.items():
            if address in dropped:
                continue
            # The list in the settings may name user and port, which a provider does not know.
            address = next((named for named in found if address.means(named)), address)
            known = found.setdefault(address, candidate)
            found[address] = replace(
                known,
                identity=known.identity or candidate.identity,
                launch=known.launch or candidate.launch,
                decision=Decision.DRAIN
                if Decision.DRAIN in (known.decision, candidate.decision)
                else Decision.SERVE,
            )
    return list(found.values())
