"""Sample the states of frontends and trees: `status` shows since when they last, and their changes are published as events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from typing import NamedTuple

from replicator.core.lifecycle import State
from replicator.engine import events
from replicator.engine.control.shown import DEGRADED, PAUSED, is_halted, shown_state, tree_state
from replicator.engine.events import Event, Events
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.service import Service

INTERVAL = 0.5
"""Seconds between two samples."""

_NAMES = {
    State.LIVE.value: events.FRONTEND_LIVE,
    DEGRADED: events.FRONTEND_DEGRADED,
    PAUSED: events.FRONTEND_PAUSED,
}


class Since(NamedTuple):
    """A state, and the time (Unix seconds) since when it lasts."""

    state: str
    at: float


class _Published(NamedTuple):
    """A frontend that is live, degraded or paused, according to the last event about it."""

    host: str
    state: str


class History:
    """Remembers since when each frontend and tree is in its state, and publishes what has changed.

    Args:
        service: the running service.
        events: receives the events. Nothing is published before there is a subscriber.
    """

    def __init__(self, service: Service, events: Events) -> None:
        self._service = service
        self._events = events
        self._since: dict[Hashable, Since] = {}
        self._in_sync: dict[Hashable, float] = {}
        self._serving: dict[str, _Published] = {}  # by machine: its replica may be replaced
        self._stopped: dict[tuple[str, bytes], str] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample(time.time())
            await asyncio.sleep(INTERVAL)

    def sample(self, now: float) -> None:
        """Record the present states, and publish what has changed; forget frontends and trees that have left.

        Args:
            now: the time, in Unix seconds.
        """
        pipelines = list(self._service.pipelines.values())
        replicas = list(self._service.fleet)
        halted = is_halted(pipelines)
        states: dict[Hashable, str] = {pipeline: tree_state(pipeline) for pipeline in pipelines}
        for replica in replicas:
            states[replica] = state = shown_state(replica, halted=halted)
            if state == "live" and replica.converged and replica.is_counted:
                self._in_sync[replica] = now
        self._since = {one: self._updated(one, state, now) for one, state in states.items()}
        self._in_sync = {one: at for one, at in self._in_sync.items() if one in states}
        if self._events:
            self._publish(pipelines, replicas)

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

    def _publish(self, pipelines: list[Pipeline], replicas: list[Replica]) -> None:
        for pipeline in pipelines:
            self._publish_tree(pipeline)
        for replica in replicas:
            self._publish_frontend(replica)
        for machine in self._serving.keys() - {replica.machine for replica in replicas}:
            self._publish_lost(machine, "it left the fleet")

    def _publish_tree(self, pipeline: Pipeline) -> None:
        root = pipeline.tree.root
        for name, reason in (
            (events.TREE_HALTED, pipeline.halted),
            (events.TREE_PAUSED, pipeline.tree.why_paused),
            (events.DELETIONS_HELD, pipeline.deletions.paused),
        ):
            before = self._stopped.get((name, root), "")
            self._stopped[name, root] = reason
            if bool(reason) != bool(before):
                name = name if reason else events.TREE_RESUMED
                self._events.publish(Event(name=name, tree=root, reason=reason))

    def _publish_frontend(self, replica: Replica) -> None:
        machine, host = replica.machine, replica.address.host
        known, state = self._serving.get(machine), shown_state(replica, halted=False)
        is_connected = replica.state not in (State.RETRYING, State.CONNECTING, State.GONE)
        if not is_connected and state != PAUSED:
            self._publish_lost(machine, replica.last_error)
        elif state in _NAMES and (known is None or known.state != state):
            self._serving[machine] = _Published(host, state)
            reason = "" if state == State.LIVE.value else replica.last_error
            self._events.publish(Event(name=_NAMES[state], frontend=host, reason=reason))

    def _publish_lost(self, machine: str, reason: str) -> None:
        """Publish that a frontend is not connected any more, unless it was not live before."""
        known = self._serving.pop(machine, None)
        if known is not None:
            event = Event(name=events.FRONTEND_LOST, frontend=known.host, reason=reason)
            self._events.publish(event)
