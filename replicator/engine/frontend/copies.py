"""Queue of live changes that make a frontend copy much: they wait until it has room for that work, and other changes go first.

A frontend applies what it is sent in its order. 200 hard links to a file of 64 MiB, sent at once, would delay each upload behind
them by the minutes that its disk needs for 12 GiB. So at most `in_flight.WORK` bytes, and one batch, are sent to be copied at a time,
and the trees take turns.

Later changes overtake a queued copy. It is sent only if neither its path nor the file that it copies has changed since; otherwise its
paths are marked dirty. The frontend could not detect that: it identifies the file to copy by size, mode and time only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef, EncodedChanges

QUICK = 1 << 20
"""Bytes: copying less takes some milliseconds, and does not wait."""

Waiting = tuple[EncodedChanges, list[int]]
"""Encoded changes, and the generation of each of their parts."""


class Copies:
    """The copies that wait to be sent to one frontend.

    Args:
        dirty: its dirty paths.
    """

    def __init__(self, dirty: DirtySet) -> None:
        self._dirty = dirty
        self._waiting: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self._bases: Counter[Key] = Counter()
        self._changed: dict[Key, int] = {}
        self._moved: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, encoded: EncodedChanges, generations: list[int]) -> None:
        """Queue copies, which were marked as sent under these generations."""
        self._waiting.setdefault(encoded.parts[0].key.tree, deque()).append((encoded, generations))
        self._bases.update(part.base for part in encoded.parts)

    def answered(self, key: Key, generation: int) -> None:
        """Record an answer: the frontend may hold another version of a path than before."""
        if key in self._bases:
            self._changed[key] = max(generation, self._changed.get(key, 0))

    def moved(self, tree: int, generation: int) -> None:
        """Record a move: a file to be copied may be another one now."""
        if tree in self._waiting:
            self._moved[tree] = generation

    def take(self) -> tuple[EncodedChanges, list[int], bool]:
        """Remove and return the next changes, their generations, and whether they may still be sent."""
        tree, waiting = self._waiting.popitem(last=False)
        encoded, generations = waiting.popleft()
        both = zip(encoded.parts, generations, strict=True)
        current = all(self._is_current(part, generation) for part, generation in both)
        for part in encoded.parts:
            self._bases[part.base] -= 1
            if not self._bases[part.base]:
                del self._bases[part.base]
                self._changed.pop(part.base, None)
        if waiting:
            self._waiting[tree] = waiting  # after those of the other trees
        else:
            self._moved.pop(tree, None)
        return encoded, generations, current

    def clear(self) -> None:
        """Drop everything."""
        self._waiting.clear()

    def _is_current(self, part: ChangeRef, generation: int) -> bool:
        newest = max(
            self._dirty.generation(part.base),
            self._changed.get(part.base, 0),
            self._moved.get(part.key.tree, 0),
        )
        return newest < generation and self._dirty.is_current(part.key, generation)
