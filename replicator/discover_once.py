"""Poll every provider once, without a daemon, for the commands `discover` and `check`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from replicator.app import providers_of
from replicator.config import Config
from replicator.core.member_set import MemberSet
from replicator.discovery.aws.client import Aws
from replicator.engine.fleet.membership import merged
from replicator.errors import DiscoveryError
from replicator.model import printable
from replicator.ports import Address, Candidate, Decision, PollResult, Provider


@dataclass(frozen=True)
class Answer:
    """The answer of one provider. If the provider failed, `result` is None and `error` is the reason."""

    name: str
    result: PollResult | None
    error: str = ""

    @property
    def whole(self) -> bool:
        """True if the answer is complete."""
        return self.result is not None and self.result.complete

    def row(self) -> dict[str, Any]:
        """Return the answer as a JSON-compatible object."""
        candidates = self.result.candidates if self.result else ()
        return {
            "provider": self.name,
            "error": self.error,
            "complete": self.whole,
            "notes": list(self.result.notes) if self.result else [],
            "sightings": [
                {
                    "address": str(s.address),
                    "instance_id": s.identity,
                    "source": s.source,
                    "state": printable(s.state.encode("utf-8", "surrogateescape")),
                    "decision": s.decision.value,
                    "reason": s.reason,
                    "launch_hook": s.launch.hook if s.launch else "",
                }
                for s in candidates
            ],
        }


async def ask_all(config: Config) -> list[Answer]:
    """Return the current answer of each provider."""
    aws = Aws(region=config.discovery.region, endpoint_url=config.discovery.endpoint_url)
    try:
        return list(await asyncio.gather(*map(_ask, providers_of(config, aws))))
    finally:
        aws.close()


async def _ask(provider: Provider) -> Answer:
    try:
        return Answer(provider.name, await provider.poll())
    except DiscoveryError as error:
        return Answer(provider.name, None, str(error))


def frontends_in(answers: list[Answer]) -> list[Candidate]:
    """Return the frontends that a daemon would serve after these answers, if they were its first."""
    member_sets: list[MemberSet[Address, Candidate]] = []
    for answer in answers:
        if answer.result is not None:
            candidates = answer.result.candidates
            member_sets.append(
                MemberSet({s.address: s for s in candidates if s.decision is not Decision.DROP})
            )
    return merged(member_sets)
