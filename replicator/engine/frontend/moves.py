"""Moves in flight to one frontend: renames of directories that were sent and not yet answered."""

from __future__ import annotations

from collections import Counter

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.model import ancestors


class Moves:
    """Index of the moves in flight. All operations cost O(depth of the paths), also in a flood of renames."""

    def __init__(self) -> None:
        self._uncertain: dict[int, bool] = {}
        self._ends: Counter[Key] = Counter()
        self._above: Counter[Key] = Counter()

    def __bool__(self) -> bool:
        """True while a move is in flight."""
        return bool(self._uncertain)

    def add(self, move: ChangeRef, *, uncertain: bool) -> None:
        """Add a move that is about to be sent; with `uncertain`, its target must be compared once the move is answered.

        It also is uncertain if a move in flight overlaps one of its ends: if the frontend refuses that one, this one moves
        something else than on the backend.
        """
        ends = ends_of(move)
        self._uncertain[move.number] = uncertain or any(map(self._overlap, ends))
        for end in ends:
            self._ends[end] += 1
            self._above.update(_above(end))

    def answered(self, move: ChangeRef) -> bool:
        """Remove a move; return True if its target must be compared now, although the frontend has made the move."""
        for end in ends_of(move):
            _subtract(self._ends, [end])
            _subtract(self._above, _above(end))
        return self._uncertain.pop(move.number)

    def _overlap(self, key: Key) -> bool:
        """Return True if an end of a move in flight is at, above or below a path."""
        return (
            key in self._ends
            or key in self._above
            or any(above in self._ends for above in _above(key))
        )


def ends_of(move: ChangeRef) -> tuple[Key, Key]:
    """Return the old and the new name."""
    return move.key, Key(move.key.tree, move.target)


def _above(key: Key) -> list[Key]:
    return [Key(key.tree, path) for path in ancestors(key.path)]


def _subtract(counter: Counter[Key], keys: list[Key]) -> None:
    for key in keys:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
