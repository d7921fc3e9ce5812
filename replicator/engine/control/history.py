"""How the states of frontends and trees have changed: sampled once a second, for `status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from replicator.engine.control.shown import is_halted, shown_state, tree_state
from replicator.engine.service import Service

SAMPLE = 1.0
"""Seconds between two samples."""


class Since(NamedTuple):
    """A state, and the time (Unix seconds) since when it lasts."""

    state: str
    at: float


class History:
    """Remembers since when each frontend and tree is in its state.

    Args:
        service: the running service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._since: dict[Hashable, Since] = {}
        self._in_sync: dict[Hashable, float] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample(time.time())
            await asyncio.sleep(SAMPLE)

    def sample(self, now: float) -> None:
        """Record the present states; forget frontends and trees that have left.

        Args:
            now: the time, in Unix seconds.
        """
        halted = is_halted(self._service.pipelines.values())
        states: dict[Hashable, str] = {}
        for replica in self._service.fleet:
            states[replica] = state = shown_state(replica, halted=halted)
            if state == "live" and replica.converged and replica.is_counted:
                self._in_sync[replica] = now
        states |= {pipeline: tree_state(pipeline) for pipeline in self._service.pipelines.values()}
        self._since = {one: self._updated(one, state, now) for one, state in states.items()}
        self._in_sync = _only(self._in_sync, states)

    def _updated(self, one: Hashable, state: str, now: float) -> Since:
        known = self._since.get(one)
        return known if known is not None and known.state == state else Since(state, now)

    def since(self, one: Hashable, state: str) -> float:
        """Return since when a Replica or Pipeline is in a state; now, if no sample has seen the state yet."""
        known = self._since.get(one)
        return round(known.at if known and known.state == state else time.time(), 3)

    def in_sync(self, one: Hashable) -> float | None:
        """Return when a Replica was last seen to hold everything; None if it never was."""
        at = self._in_sync.get(one)
        return None if at is None else round(at, 3)


def _only(values: Mapping[Hashable, float], keys: Iterable[Hashable]) -> dict[Hashable, float]:
    return {key: values[key] for key in keys if key in values}
