"""Membership of the fleet: poll every provider at its interval, and merge the answers.

A provider that fails is polled again after growing delays; its last answer stays in force, and the other providers do not wait for it. Until every
provider has answered once no member is removed, so that a restart or a reload during an outage loses no frontend.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from replicator.core.member_set import MemberSet
from replicator.core.pace import Backoff
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, Decision, MemberStore, PollResult, Provider
from replicator.shortage import shortage

log = structlog.get_logger()

HUNG = 60.0
"""Seconds without an answer after which a provider counts as failed, such as a list on a network file system that hangs."""


@dataclass
class Poll:
    """The polling of one provider.

    Attributes:
        provider: the provider.
        member_set: its members.
        failures: number of consecutive failures.
        error: reason of the last failure; empty after a success.
        notes: sentences of the last answer for the operator.
        count: number of polls.
        success: time of the last answer, in Unix seconds; None before the first.
        candidates: all of the last answer, also those that are not members.
    """

    provider: Provider
    member_set: MemberSet[Address, Candidate]
    failures: int = 0
    error: str = ""
    notes: tuple[str, ...] = ()
    count: int = 0
    success: float | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def why_unknown(self) -> str:
        """Why it has not given a complete answer yet, as a clause."""
        if self.error or not self.member_set.answered:
            return self.error or "no answer yet"
        return f"its answer is incomplete: {'; '.join(self.notes)}"

    def succeeded(self, result: PollResult) -> None:
        """Update the members from an answer."""
        known = self.member_set.members
        present = {
            one.address: one for one in result.candidates if one.decision is not Decision.DROP
        }
        for address, candidate in known.items():
            if candidate.identity and candidate.identity in result.unlocated:
                present.setdefault(address, candidate)
        gone = {one.address for one in result.candidates if one.decision is Decision.DROP}
        self.member_set.answer(present, gone - set(present), complete=result.complete)
        self.failures, self.error, self.notes = 0, "", result.notes
        self.success, self.candidates = time.time(), result.candidates


@dataclass
class Membership:
    """Polls the providers, and sets the members of the fleet.

    Args:
        providers: the providers.
        set_members: called after each answer with all candidates, and with True once every provider has answered: then it removes the
            frontends that are not among them, except those that an operator has added.
        chance: returns a random number in 0..1, for jitter.
        store: stores answers across restarts.
    """

    providers: Sequence[Provider]
    set_members: Callable[[list[Candidate], bool], None]
    chance: Callable[[], float]
    store: MemberStore | None = None
    polls: list[Poll] = field(default_factory=list)

    def __post_init__(self) -> None:
        stored = self.store.load() if self.store else {}
        for provider in self.providers:
            known = {one.address: one for one in stored.get(provider.name, ())}
            member_set = MemberSet(known, certain=provider.certain)
            self.polls.append(Poll(provider, member_set))

    async def run(self) -> None:
        """Poll until cancelled."""
        if any(poll.member_set.members for poll in self.polls):
            self._apply()
        async with asyncio.TaskGroup() as tasks:
            for poll in self.polls:
                tasks.create_task(self._keep_polling(poll), name=f"discovery {poll.provider.name}")

    async def _keep_polling(self, poll: Poll) -> None:
        provider = poll.provider
        backoff = Backoff(
            provider.interval, max(provider.retry_cap, provider.interval), self.chance
        )
        while True:
            poll.count += 1
            try:
                poll.succeeded(await self._answer(poll))
            except DiscoveryError as error:
                self._failed(poll, str(error))
            except Exception as error:
                # A shortage or a bug, perhaps of a library: the members stay, and the provider is polled again.
                lacking = shortage(error)
                if not lacking:
                    log.exception("discovery failed", provider=provider.name)
                self._failed(poll, lacking or f"internal error: {error!r}")
            else:
                self._apply()
            jittered = provider.interval * (0.9 + 0.2 * self.chance())
            await asyncio.sleep(backoff.delay(poll.failures) if poll.failures else jittered)

    async def _answer(self, poll: Poll) -> PollResult:
        """Return the answer of a provider. While it hangs, each HUNG seconds count as a failure."""
        call = asyncio.ensure_future(poll.provider.poll())
        try:
            while not (await asyncio.wait([call], timeout=HUNG))[0]:
                self._failed(poll, f"it has not answered for {HUNG:.0f} s")
            return call.result()
        finally:
            call.cancel()

    def failed(self, reason: str) -> None:
        """Record for every provider that `run` has failed, and why."""
        for poll in self.polls:
            poll.failures += 1
            poll.error = reason

    def _failed(self, poll: Poll, error: str) -> None:
        poll.failures += 1
        if error != poll.error:
            log.warning("discovery failed", provider=poll.provider.name, reason=error)
        poll.error = error

    def _apply(self) -> None:
        all_answered = all(poll.member_set.answered for poll in self.polls)
        self.set_members(merged(poll.member_set for poll in self.polls), all_answered)
        if self.store is not None:
            self.store.save(
                {
                    poll.provider.name: list(poll.member_set.members.values())
                    for poll in self.polls
                    if not poll.provider.certain
                }
            )

    def unknown(self) -> list[tuple[str, str]]:
        """Return the providers that have not given a complete answer yet, so that frontends may be unknown, each with the reason."""
        return [
            (poll.provider.name, poll.why_unknown)
            for poll in self.polls
            if not poll.member_set.is_known
        ]

    def describe(self) -> list[dict[str, Any]]:
        """Return a row for each provider, for `status`."""
        return [
            {
                "provider": poll.provider.name,
                "members": len(poll.member_set.members),
                "looks": poll.count,
                "failures": poll.failures,
                "answered": poll.member_set.answered,
                "error": poll.error,
                "doubt": poll.member_set.doubt,
                "notes": list(poll.notes),
                "answered_at": poll.success and round(poll.success, 3),
                "decisions": [_decision(candidate) for candidate in poll.candidates],
            }
            for poll in self.polls
        ]


def _decision(candidate: Candidate) -> dict[str, str]:
    return {
        "frontend": str(candidate.address),
        "instance_id": candidate.identity,
        "state": candidate.state,
        "decision": candidate.decision.value,
        "reason": candidate.reason,
    }


def merged(member_sets: Iterable[MemberSet[Address, Candidate]]) -> list[Candidate]:
    """Return one candidate for each address that a provider lists, unless another one reports it as gone.

    The first provider that lists a frontend is its source. Its identity, its launch hook, and that it is draining may come from
    any provider.
    """
    member_sets = list(member_sets)
    dropped = {address for member_set in member_sets for address in member_set.dropped}
    found: dict[Address, Candidate] = {}
    for member_set in member_sets:
        for address, candidate in member_set.members.items():
            if address in dropped:
                continue
            # The list in the settings may contain user and port, which a provider does not know.
            address = next((other for other in found if address.means(other)), address)
            first = found.setdefault(address, candidate)
            found[address] = replace(
                first,
                identity=first.identity or candidate.identity,
                launch=first.launch or candidate.launch,
                decision=Decision.DRAIN
                if Decision.DRAIN in (first.decision, candidate.decision)
                else Decision.SERVE,
            )
    return list(found.values())
