"""The renames that are under way to one frontend, under the names that their ends have by now."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.model import ROOT, renamed

REMEMBERED = 256
"""Renames whose ends are followed; of more, in a flood of them, it is only known that they are somewhere in the tree."""


class Ends(NamedTuple):
    """Where a rename began, and where it led to."""

    source: Key
    target: Key


class Moves:
    """Follows each rename until it is answered: one that is refused must be put right where its ends are then."""

    def __init__(self) -> None:
        self._ends: OrderedDict[int, Ends] = OrderedDict()

    def __bool__(self) -> bool:
        """True while a rename is not answered."""
        return bool(self._ends)

    def sent(self, move: ChangeRef) -> None:
        """A rename is sent; it may rename what earlier ones have renamed."""
        for number, (source, target) in self._ends.items():
            self._ends[number] = Ends(_followed(source, move), _followed(target, move))
        self._ends[move.number] = Ends(move.key, Key(move.key.tree, move.target))
        if len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)

    def answered(self, move: ChangeRef) -> Ends:
        """Return where the ends of a rename are now, and follow them no more."""
        anywhere = Key(move.key.tree, ROOT)
        return self._ends.pop(move.number, Ends(anywhere, anywhere))


def _followed(key: Key, move: ChangeRef) -> Key:
    if key.tree != move.key.tree:
        return key
    return Key(key.tree, renamed(key.path, move.key.path, move.target))
