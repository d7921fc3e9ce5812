"""Queue of what is sent to one frontend: live changes, then bulk, in the order in which the agent applies it.

Live changes are sent at once, in their order. Bulk waits for room in the window: frames that were read for dirty paths, and live changes
that make the agent copy much. Both take turns, and so do the trees. 200 hard links to a file of 64 MiB, sent at once, would delay each
upload behind them by the minutes that the agent's disk needs for 12 GiB.

Later changes overtake a queued copy. It is sent only if neither its path nor the file that it copies has changed since; otherwise its
path is marked dirty. The agent could not detect that: it identifies the file to copy by size, mode and time only.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key
from replicator.engine.frontend.in_flight import InFlight

PREPARED = 8
"""Prepared frames in the queue at most, each up to 512 KiB: enough that sending never waits for the disk."""


class Part(enum.Enum):
    """What frames are: changes as a whole, or a part of one large file."""

    WHOLE = 0
    BEGIN = 1
    CONTENT = 2
    END = 3
    CANCEL = 4


@dataclass(frozen=True)
class Outgoing:
    """Frames that are sent without another frame between them.

    Attributes:
        frames: the bytes.
        changes: the changes in them; for a part of a large file, its change.
        part: which part.
        work: bytes that the agent must copy for a part of a large file.
    """

    frames: tuple[bytes, ...]
    changes: tuple[InFlight, ...]
    part: Part = Part.WHOLE
    work: int = 0

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(map(len, self.frames))


class SendQueue:
    """The queue of one connection.

    Args:
        dirty: the dirty paths of the frontend.

    Attributes:
        live_bytes: bytes of the live changes in it.
    """

    def __init__(self, dirty: DirtySet) -> None:
        self.live_bytes = 0
        self._dirty = dirty
        self._live: deque[Outgoing] = deque()
        self._prepared: deque[Outgoing] = deque()
        self._copies: OrderedDict[int, deque[Outgoing]] = OrderedDict()
        self._is_copy_next = False
        self._bases: Counter[Key] = Counter()
        self._changed: dict[Key, int] = {}
        self._moved: dict[int, int] = {}

    @property
    def is_full(self) -> bool:
        """True if no more frames should be prepared now."""
        return len(self._prepared) >= PREPARED

    @property
    def has_bulk(self) -> bool:
        """True if `take_bulk` may be called."""
        return bool(self._prepared or self._copies)

    def add_live(self, outgoing: Outgoing) -> None:
        """Add live changes."""
        self.live_bytes += outgoing.size
        self._live.append(outgoing)

    def add_copies(self, outgoing: Outgoing) -> None:
        """Add live changes that make the agent copy much."""
        self.live_bytes += outgoing.size
        tree = outgoing.changes[0].part.key.tree
        self._copies.setdefault(tree, deque()).append(outgoing)
        self._bases.update(change.part.base for change in outgoing.changes)

    def add_prepared(self, outgoing: Outgoing) -> None:
        """Add frames that were read for dirty paths."""
        self._prepared.append(outgoing)

    def take_live(self) -> Outgoing | None:
        """Remove and return the next live changes; None if there are none."""
        if not self._live:
            return None
        outgoing = self._live.popleft()
        self.live_bytes -= outgoing.size
        return outgoing

    def take_bulk(self) -> tuple[Outgoing, bool]:
        """Remove and return the next bulk, and whether all its changes are current: not marked again, and copied from the same file."""
        self._is_copy_next = bool(self._copies) and not (self._is_copy_next and self._prepared)
        if self._is_copy_next:
            return self._take_copies()
        outgoing = self._prepared.popleft()
        is_current = self._dirty.is_current
        return outgoing, all(is_current(one.part.key, one.generation) for one in outgoing.changes)

    def answered(self, key: Key, generation: int) -> None:
        """Record an answer: the frontend may hold another version of a path than before."""
        if key in self._bases:
            self._changed[key] = max(generation, self._changed.get(key, 0))

    def moved(self, tree: int, generation: int) -> None:
        """Record a move: a file to be copied may be another one now."""
        if tree in self._copies:
            self._moved[tree] = generation

    def clear(self) -> None:
        """Drop everything."""
        self._live.clear()
        self._prepared.clear()
        self._copies.clear()

    def _take_copies(self) -> tuple[Outgoing, bool]:
        tree, waiting = self._copies.popitem(last=False)
        outgoing = waiting.popleft()
        self.live_bytes -= outgoing.size
        current = all(map(self._is_current_copy, outgoing.changes))
        for change in outgoing.changes:
            base = change.part.base
            self._bases[base] -= 1
            if not self._bases[base]:
                del self._bases[base]
                self._changed.pop(base, None)
        if waiting:
            self._copies[tree] = waiting  # after those of the other trees
        else:
            self._moved.pop(tree, None)
        return outgoing, current

    def _is_current_copy(self, change: InFlight) -> bool:
        key, base = change.part.key, change.part.base
        newest = max(
            self._dirty.generation(base),
            self._changed.get(base, 0),
            self._moved.get(key.tree, 0),
        )
        return newest < change.generation and self._dirty.is_current(key, change.generation)
