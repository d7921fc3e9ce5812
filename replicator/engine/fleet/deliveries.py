"""Find out when a published change has arrived on every frontend that serves visitors and is connected.

A change counts as delivered when no such frontend lacks the path any more, and at least one holds it. A frontend that is away does not
delay it: what it misses is sent when it returns. If nobody subscribes to the events, nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef, EncodedChanges
from replicator.engine.events import DELIVERED, Event, Events
from replicator.engine.loop import Pauses, loop_time
from replicator.engine.tree import Tree
from replicator.model import ROOT

LIMIT = 100_000
"""Changes that are followed at the same time, some 30 MB; beyond it, a tree is delivered as a whole."""


class Recipient(Protocol):
    """A frontend."""

    def lacks(self, key: Key) -> bool:
        """Return True if it serves visitors, is connected, and has not confirmed a path."""

    def has_current(self, key: Key) -> bool:
        """Return True if it is connected, was compared, and has confirmed a path."""

    def lacks_any(self, tree: int) -> bool:
        """Return True if it serves visitors, is connected, and has not confirmed everything in a tree."""


class _Open(NamedTuple):
    """A change that is not delivered.

    Attributes:
        part: the change.
        since: when the path was first published.
        lacking: a frontend that lacked the path when that was last looked up; None if no frontend was connected.
        place: its position among the frontends.
    """

    part: ChangeRef
    since: float
    lacking: Recipient | None
    place: int


class Deliveries:
    """Publishes an event for each path that has arrived.

    Args:
        recipients: returns all frontends.
        trees: the trees.
        events: receives the events.
        limit: maximum number of changes that are followed.
    """

    def __init__(
        self,
        recipients: Callable[[], Iterable[Recipient]],
        trees: Mapping[int, Tree],
        events: Events,
        limit: int = LIMIT,
    ) -> None:
        self._recipients = recipients
        self._trees = trees
        self._events = events
        self._limit = limit
        self._open: dict[Key, _Open] = {}
        self._whole: dict[int, float] = {}

    def published(self, encoded: EncodedChanges) -> None:
        """Follow changes that every frontend was offered."""
        if not self._events:
            return
        now = loop_time()
        for part in encoded.parts:
            known = self._open.get(part.key)
            self._look(part, known.since if known else now, -1)
        if len(self._open) > self._limit:
            for key, one in self._open.items():
                self._whole.setdefault(key.tree, one.since)
            self._open.clear()

    def confirmed(self, key: Key) -> None:
        """Note that a frontend has confirmed a path."""
        one = self._open.get(key)
        if one is not None and not (one.lacking and one.lacking.lacks(key)):
            self._look(one.part, one.since, one.place)

    async def sweep(self) -> None:
        """Find what was delivered without a confirmation: a frontend left, or a comparison has found it equal."""
        pauses = Pauses()
        for key, one in list(self._open.items()):
            if key in self._open and not (one.lacking and one.lacking.lacks(key)):
                self._look(one.part, one.since, one.place)
            await pauses.pause()
        for tree, since in list(self._whole.items()):
            recipients, root = list(self._recipients()), Key(tree, ROOT)
            if any(one.lacks_any(tree) for one in recipients):
                continue
            if any(one.has_current(root) for one in recipients):
                del self._whole[tree]
                self._publish(ChangeRef(0, Key(tree, ROOT)), since)

    def _look(self, part: ChangeRef, since: float, place: int) -> None:
        """Find a frontend that lacks a path, from a position backwards: changes are sent to the last frontend last."""
        recipients = list(self._recipients())
        for behind in range(len(recipients)):
            at = (place - behind) % len(recipients)
            if recipients[at].lacks(part.key):
                self._open[part.key] = _Open(part, since, recipients[at], at)
                return
        if not any(one.has_current(part.key) for one in recipients):
            self._open[part.key] = _Open(part, since, None, -1)
            return
        self._open.pop(part.key, None)
        self._publish(part, since)

    def _publish(self, part: ChangeRef, since: float) -> None:
        tree = self._trees.get(part.key.tree)
        if tree is None:  # it was removed
            return
        self._events.publish(
            Event(
                name=DELIVERED,
                tree=tree.root,
                path=part.key.path,
                target=part.target,
                is_delete=part.is_delete,
                seconds=loop_time() - since,
            )
        )
