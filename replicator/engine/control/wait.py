"""`wait`: ends when everything that was changed before the call is confirmed by every frontend that serves visitors.

1. The watcher has read what the kernel had queued at the time of the call.
2. Everything that these events have named, and each file whose changes cause no event, is checked and published (`engine.ingest.barriers`).
3. Every provider of the configuration has given one complete answer, so that the frontends are known, and there is at least one.
4. No frontend has a path dirty that was dirty at that time.

`wait` waits for a frontend that has been live or has its ready file. Unless a launch hook holds it, `wait` also waits for one that an
earlier run of the daemon knew, and for one that has never connected. Any other frontend (it is filled for the first time) is waited for
only if the caller names it, or if there is none of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

from replicator.engine.context import Context
from replicator.engine.control.areas import Blocker, areas_of
from replicator.engine.frontend.replica import Replica
from replicator.engine.loop import loop_time
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.ports import Address

PAUSES = (0.002, 0.05)
"""Shortest and longest seconds between two examinations of what is waited for."""

GROWTH = 1.2
"""Factor by which the pause grows."""

COST = 20
"""Pause in multiples of what one examination takes: 10 ms if 100,000 paths are dirty that the call does not concern."""

LONGEST = 3.0
"""Longest pause in seconds: the command takes a daemon that is silent for 10 s for hung."""

HEARTBEAT = 1.0
"""Seconds between two lines of the answer, from which the caller sees that the daemon is alive."""

TICK = 0.002
"""Resolution of the loop's clock, with a margin: uvloop counts milliseconds."""


class Wait:
    """One call of `wait`.

    Args:
        service: the service.
        context: what all replicas share.
        areas: (source, relative path) of what must be confirmed; empty: everything in all trees.
        frontend: the only frontend that must confirm it; None: all that serve visitors.

    Raises:
        ControlError: if a path is not replicated, more than MOST_AREAS are named, or there is no such frontend.
    """

    def __init__(
        self,
        service: Service,
        context: Context,
        areas: Collection[tuple[bytes, bytes]],
        frontend: Address | None,
    ) -> None:
        self._service = service
        self._context = context
        self._frontend = frontend
        self._began = loop_time()
        self._areas = areas_of(service, areas, self._began + TICK)
        self._waited_for: dict[str, str] = {}
        if frontend is not None and service.fleet.find(frontend) is None:
            raise ControlError(f"{frontend.host}: not one of the frontends")

    async def run(self, seconds: float) -> AsyncGenerator[dict[str, Any], None]:
        """Wait, for at most `seconds`; yield the present state from time to time, and the outcome at last."""
        loop = asyncio.get_running_loop()
        pause, last_row = PAUSES[0], self._began
        try:
            while True:
                began = loop.time()
                blockers = self._blockers()
                now = loop.time()
                is_final = any(one.is_final for one in blockers)
                if not blockers or is_final or now >= self._began + seconds:
                    yield self._outcome(blockers)
                    return
                if now - last_row >= HEARTBEAT:
                    last_row = now
                    yield self._row(blockers)
                pause = min(GROWTH * pause, PAUSES[1])
                await asyncio.sleep(max(pause, min(COST * (now - began), LONGEST)))
        finally:
            for area in self._areas:
                area.close()

    def _blockers(self) -> list[Blocker]:
        """Return what is not confirmed. Problems of a source that waiting does not solve come alone, and those of single files last."""
        sources = [one for area in self._areas if (one := area.blocker(self._service)) is not None]
        final = [one for one in sources if one.is_final]
        if final:
            return final
        frontends = self._frontend_blockers()
        if sources or frontends:
            return sources + frontends
        return [one for area in self._areas if (one := area.unreadable()) is not None]

    def _frontend_blockers(self) -> list[Blocker]:
        blockers: list[Blocker] = []
        replicas = self._replicas()
        present = {replica.machine: replica for replica in replicas}
        for machine, replica in present.items():
            self._waited_for[machine] = replica.address.host
        if self._frontend is None:
            blockers += self._discovery_blockers()
        elif not present:
            blockers.append(Blocker(self._frontend.host, "it left the fleet", is_final=True))
        for replica in replicas:
            if (blocker := self._unconfirmed(replica)) is not None:
                blockers.append(blocker)
        return blockers

    def _discovery_blockers(self) -> list[Blocker]:
        """Return why frontends may be unknown, or why nobody could confirm anything."""
        blockers = [
            Blocker(f"discovery {provider}", why)
            for provider, why in self._service.unknown_members()
        ]
        if not blockers and not len(self._service.fleet):
            blockers.append(Blocker("fleet", "no frontend is known"))
        return blockers

    def _unconfirmed(self, replica: Replica) -> Blocker | None:
        """Return what a frontend has not confirmed; None if nothing. One that is paused will not confirm it."""
        for area in self._areas:
            if reason := area.unconfirmed(replica):
                held = replica.why_held(area.tree)
                return Blocker(replica.address.host, held or reason, is_final=bool(held))
        return None

    def _replicas(self) -> list[Replica]:
        """Return the frontends that must confirm the changes."""
        if self._frontend is not None:
            found = self._service.fleet.find(self._frontend)
            return [found] if found is not None else []
        every = list(self._service.fleet)
        return [one for one in every if self._may_serve(one)] or every

    def _may_serve(self, replica: Replica) -> bool:
        if replica.serves or replica.ready:
            return True
        if replica.candidate.launch is not None:
            return False
        return not replica.logins or self._context.targets.was_known(replica.machine)

    def _row(self, blockers: list[Blocker]) -> dict[str, Any]:
        return {"waits_for": [{"who": one.who, "why": one.why} for one in blockers]}

    def _outcome(self, blockers: list[Blocker]) -> dict[str, Any]:
        """Return the last line of the answer."""
        replicas = self._replicas()
        fleet = {replica.machine for replica in self._service.fleet}
        seconds = loop_time() - self._began
        filled = [one for one in self._service.fleet if one not in replicas]
        return {
            "finished": True,
            "ok": not blockers,
            "seconds": round(seconds, 3),
            "frontends": [replica.address.host for replica in replicas],
            "left": [host for machine, host in self._waited_for.items() if machine not in fleet],
            "not_serving": [] if self._frontend else [replica.address.host for replica in filled],
            **self._row(blockers),
        }
