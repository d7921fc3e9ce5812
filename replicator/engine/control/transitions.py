"""Publish an event when the state of a frontend or a tree has changed, as `status` shows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from replicator.core.lifecycle import State
from replicator.engine import events
from replicator.engine.control.health import SERVING
from replicator.engine.control.shown import DEGRADED, shown_state
from replicator.engine.events import Event, Events
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.service import Service

INTERVAL = 0.5
"""Seconds between two looks; `is_degraded` reads the dirty set, which costs a microsecond for each blocked path."""

NAMES = {State.LIVE.value: events.FRONTEND_LIVE, DEGRADED: events.FRONTEND_DEGRADED}


@dataclass
class _Frontend:
    host: str
    state: str = ""


class Transitions:
    """Compares the states with those of the last look.

    Args:
        service: the service.
        events: receives the events.
    """

    def __init__(self, service: Service, events: Events) -> None:
        self._service = service
        self._events = events
        self._frontends: dict[str, _Frontend] = {}
        self._halted: dict[bytes, str] = {}
        self._held: dict[bytes, str] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL)

    def look(self) -> None:
        """Publish what has changed since the last call."""
        if not self._events:
            return
        pipelines = list(self._service.pipelines.values())
        for pipeline in pipelines:
            self._look_at_tree(pipeline)
        replicas = {replica.machine: replica for replica in self._service.fleet}
        for machine, replica in replicas.items():
            self._look_at(
                self._frontends.setdefault(machine, _Frontend(replica.address.host)), replica
            )
        for machine in self._frontends.keys() - replicas.keys():
            gone = self._frontends.pop(machine)
            self._lost(gone, "it left the fleet")

    def _look_at(self, known: _Frontend, replica: Replica) -> None:
        state = shown_state(replica, halted=False)
        if replica.state in (State.RETRYING, State.CONNECTING, State.GONE):
            self._lost(known, replica.last_error)
        elif state in SERVING and state != known.state:
            known.state = state
            reason = replica.last_error if state == DEGRADED else ""
            self._events.publish(Event(name=NAMES[state], frontend=known.host, reason=reason))

    def _lost(self, known: _Frontend, reason: str) -> None:
        """Publish that a frontend is not connected any more, unless it was not live before."""
        if known.state:
            known.state = ""
            event = Event(name=events.FRONTEND_LOST, frontend=known.host, reason=reason)
            self._events.publish(event)

    def _look_at_tree(self, pipeline: Pipeline) -> None:
        root = pipeline.tree.root
        for known, name, reason in (
            (self._halted, events.TREE_HALTED, pipeline.halted),
            (self._held, events.DELETIONS_HELD, pipeline.deletions.paused),
        ):
            before = known.get(root, "")
            known[root] = reason
            if bool(reason) != bool(before):
                event = Event(
                    name=name if reason else events.TREE_RESUMED, tree=root, reason=reason
                )
                self._events.publish(event)
