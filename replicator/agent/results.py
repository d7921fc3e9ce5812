"""Results of changes, until they are sent to the backend."""

from __future__ import annotations

import os
from typing import Callable, Iterator

from replicator.agent.durable import sync
from replicator.agent.refusals import Refused, refusal_of, shortened_detail
from replicator.errors import ReplicatorError
from replicator.wire.changes import Change
from replicator.wire.messages import Acks

MOST = 256
"""Results of each kind in a frame: with details of 500 characters, each up to 6 bytes in JSON, they fit into a header of 1 MiB."""


class Results:
    """Results that were not sent yet. A change of a durable tree is answered only after `sync`.

    Args:
        root_of: called with the number of a tree; returns the descriptor of its root.

    Attributes:
        durable: numbers of the durable trees.
        changed: trees to which a change was applied; the caller clears it.
    """

    def __init__(self, root_of: Callable[[int], int]) -> None:
        self.durable: set[int] = set()
        self.changed: set[int] = set()
        self._root_of = root_of
        self._done: list[int] = []
        self._unsynced: dict[int, list[int]] = {}
        self._refused: list[tuple[int, str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._done or self._unsynced or self._refused)

    def attempt(self, change: Change, act: Callable[[], None]) -> None:
        """Apply a change by calling `act`, and record the result."""
        try:
            act()
        except (Refused, OSError, ReplicatorError) as error:
            self.refuse(change.number, error)
        else:
            self.applied(change)

    def applied(self, change: Change) -> None:
        """Record that a change was applied."""
        self.changed.add(change.tree)
        if change.tree in self.durable:
            self._unsynced.setdefault(change.tree, []).append(change.number)
        else:
            self._done.append(change.number)

    def refuse(self, number: int, error: Exception) -> None:
        """Record that a change was refused because of an error."""
        refusal = refusal_of(error)
        self._refused.append((number, refusal.reason, shortened_detail(refusal.detail)))

    def sync(self) -> None:
        """Write changes of durable trees to the disk; refuse those to a file system where that fails."""
        if not self._unsynced:
            return
        unsynced, self._unsynced = self._unsynced, {}
        devices: dict[int, tuple[int, list[int]]] = {}  # to (a root on it, numbers of changes)
        for tree, numbers in unsynced.items():
            root = self._root_of(tree)
            devices.setdefault(os.fstat(root).st_dev, (root, []))[1].extend(numbers)
        for root, numbers in devices.values():
            self._sync_device(root, numbers)

    def _sync_device(self, root: int, numbers: list[int]) -> None:
        """Sync the whole file system that holds a root, as syncfs() does, and answer the changes to it."""
        try:
            sync(root)
        except OSError as error:
            for number in numbers:
                self.refuse(number, error)
        else:
            self._done += numbers

    def take(self, taken: int) -> Iterator[Acks]:
        """Yield all results, in as many messages as that takes; without any, one empty message.

        Args:
            taken: total bytes of the frames that the agent has handled.
        """
        while True:
            done, refused = self._done[:MOST], self._refused[:MOST]
            del self._done[:MOST], self._refused[:MOST]
            yield Acks(tuple(done), tuple(refused), taken)
            if not self._done and not self._refused:
                return
