"""When a hint is worth a look.

The first change of a quiet path is looked at at once. A path that was just looked at rests for its cooldown, which doubles
while it goes on changing; a file that is being written waits until nobody writes it, but not for ever; a directory whose names
change is looked at a little later. A rename is handed out at once and takes what is pending with it, because hints are
about names. Nothing is lost by waiting: whoever looks, looks at what is there then.

Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import NamedTuple

from replicator.core.agenda import Agenda, Slot
from replicator.core.renames import Renames
from replicator.model import ROOT, Hint, Hinted, parent, rebase

UNCLOSED = 0.05
"""Seconds after the last write of a file, without a close, at which it is asked whether anybody has it open for writing."""

SYMLINK_REST = 0.1
"""Seconds between two looks at a symlink: it leads to other paths, so it must be sent before what it led to is believed gone
(0.5 s, see `core.absences`), and a look at it reads no content."""

LONGEST = 16
"""How many times longer than at first a cooldown gets."""


MANY = 50
"""Renames beyond which it takes too long to say which looks they concern: 1 us for each look and rename."""

KEPT = 2000
"""Looks for new content that outlive the change from looks to a walk: more than are made while events wait to be taken in."""

HELD = 0.02
"""Seconds after which a look that waits for a rename is offered again."""


class WorkKind(enum.Enum):
    """What there is to do."""

    EXAMINE = "examine"  # look at `path` itself
    MOVE = "move"  # `path` was renamed to `target`
    WALK = "walk"  # look at all below `path`


class Work(NamedTuple):
    """One thing to do.

    Attributes:
        kind: what to do.
        path: where.
        target: the new name, of MOVE.
        force: take a consistent snapshot even if the file is open for writing, of EXAMINE.
        unclosed: no event says that the writer has closed the file, of EXAMINE: read it only if the kernel says that it has none.
    """

    kind: WorkKind
    path: bytes
    target: bytes = b""
    force: bool = False
    unclosed: bool = False


class Settle:
    """Turns hints into work, in time.

    Call `hint` for each hint, `ready` when `deadline` has come, and `busy` for what could not be read, before the next
    call of `ready`.

    Args:
        cooldown: seconds between two looks at a path, at first.
        max_wait: seconds that a file which stays open for writing is waited for.
        contents_delay: seconds by which a directory is looked at after its names changed.
        limit: how many paths may be pending before all are replaced by one walk of the tree (100,000 are about 50 MB).
    """

    def __init__(
        self,
        *,
        cooldown: float,
        max_wait: float,
        contents_delay: float = 0.1,
        limit: int = 100_000,
    ) -> None:
        self._cooldown = cooldown
        self._max_wait = max_wait
        self._contents_delay = contents_delay
        self._limit = limit
        self._looks = Agenda(cooldown)
        self._walks = Agenda(cooldown)
        self._renames = Renames()
        self._out: list[bytes] = []

    def adjust(self, *, cooldown: float, max_wait: float) -> None:
        """Use other times; what rests already, does so for as long as it would have."""
        self._cooldown = self._looks.cooldown = self._walks.cooldown = cooldown
        self._max_wait = max_wait

    def __len__(self) -> int:
        return self._looks.pending + self._walks.pending + len(self._renames)

    def is_pending(self, path: bytes) -> bool:
        """Return True if a look at this very path is still to come."""
        return self._looks.is_pending(path)

    def concerns(self, path: bytes) -> bool:
        """Return True if a look, a walk or a rename is still to come that may find something at a path."""
        return (
            self._looks.is_pending(path)
            or any(self._walks.is_pending(each) for each in (path, *_above(path)))
            or self._renames.concern(path)
        )

    def hint(self, hint: Hint, now: float) -> None:
        """Take one hint."""
        self._renames.returned(hint.path, now)
        if hint.kind is Hinted.WRITTEN:
            self._written(hint.path, now)
        elif hint.kind is Hinted.CONTENTS:
            due = now + self._contents_delay
            self._touch(self._looks, hint.path, now, due, minor=True)
        elif hint.kind is Hinted.TOUCHED:
            self._touch(self._looks, hint.path, now, now, minor=True)
        elif hint.kind is Hinted.SUBTREE:
            self._walk(hint.path, now)
        elif hint.kind is Hinted.MOVED:
            self._moved(hint, now)
        else:
            self._touch(self._looks, hint.path, now, now)
        if len(self) > self._limit:
            self._collapse(now)
        elif len(self._looks) > 2 * self._limit:
            self._looks.forget_history()

    def busy(self, path: bytes, now: float) -> None:
        """The file could not be read: it is open for writing, or changed meanwhile.

        It is tried again when it is closed, after delays that double, and with `force` when it has been written for
        `max_wait` seconds. The first vain look starts no cooldown: the close that follows shall be looked at at once.
        """
        slot = self._looks.slot(path)
        if slot.tries == 0:
            slot.handed = -math.inf
        if slot.since is None:
            slot.since = now
        delay = self._delay(slot)
        slot.tries += 1
        self._looks.want_by(path, min(now + delay, max(now, slot.since + self._max_wait)))

    def _delay(self, slot: Slot) -> float:
        return float(self._cooldown * 2 ** min(slot.tries, LONGEST))

    def ready(self, now: float, limit: int | None = None) -> list[Work]:
        """Return what is to be done now, in a safe order; it counts as done from now on.

        Renames come first, in the order in which they happened; then looks, for a rename leaves under a name what was known
        under another one; then walks. What is at or below the new name of a directory waits for its rename.

        Args:
            now: the time.
            limit: at most so many looks; which ones, if more are due, says `core.backlog`.
        """
        self._believe_read()
        work = [Work(WorkKind.MOVE, *ends) for ends in self._renames.take(now)]
        held = self._renames.holds
        work += self._take_looks(now, held, limit)
        for path, slot in self._walks.take(now, held):
            self._spend(slot, now)
            work.append(Work(WorkKind.WALK, path))
        return work

    def between(self, now: float, limit: int) -> list[Work]:
        """Return looks that are due and may be done in the middle of other work: no rename that waits concerns them.

        What is handed out counts as done. The paths that `ready` has handed out last are believed to be read from here on.
        """
        if len(self._renames) > MANY:
            return []
        self._believe_read()

        def held(path: bytes) -> float:
            return now + HELD if self._renames.concern(path) else 0.0

        return self._take_looks(now, held, limit)

    def deadline(self) -> float | None:
        """Return when to call `ready` next, in seconds; None when there is nothing to wait for."""
        dues = (self._renames.next_due(), self._looks.next_due(), self._walks.next_due())
        earliest = min(due for due in dues if due is not None)
        return earliest if earliest < math.inf else None

    def _touch(
        self, agenda: Agenda, path: bytes, now: float, due: float, *, minor: bool = False
    ) -> None:
        slot = agenda.slot(path)
        if slot.due is None and now >= slot.faded:
            slot.handed = -math.inf
            slot.cooldown = self._cooldown
        slot.fresh = True
        slot.unclosed = False
        agenda.want_by(path, max(due, slot.rested), now=now, minor=minor)

    def _written(self, path: bytes, now: float) -> None:
        """Hold the path back, even if it was wanted sooner: a look now would find it half written.

        A look a little later asks for a writer: some files are complete without an event that says so (a link to an unnamed
        file, truncate). While there is one, `busy` says when to look next.
        """
        slot = self._looks.slot(path)
        if slot.since is None:
            slot.since = now
        slot.unclosed = True
        if slot.tries == 0 or slot.due is None:
            due = now + UNCLOSED if slot.tries == 0 else now + self._delay(slot)
            self._looks.want(path, max(min(due, slot.since + self._max_wait), slot.rested))

    def _walk(self, path: bytes, now: float) -> None:
        if any(self._walks.is_pending(above) for above in _above(path)):
            return
        for covered in list(self._walks.below(path)):
            if covered != path:
                self._walks.cancel(covered)
        self._touch(self._walks, path, now, now)

    def _moved(self, hint: Hint, now: float) -> None:
        source, target = hint.path, hint.target
        walk_is_owed = any(self._walks.is_pending(above) for above in _above(source))
        for agenda in (self._looks, self._walks):
            _rename(agenda, source, target)
        if walk_is_owed:  # the walk of the directory that it left will not meet it any more
            self._walk(target, now)
        self._renames.add(source, target, now, is_directory=hint.is_directory)
        for path in (source, target):  # something else may be called `source` now
            self._touch(self._looks, path, now, now)

    def gone(self, path: bytes) -> None:
        """A path is believed gone: if it comes back, it is looked at without a rest."""
        slot = self._looks.get(path)
        if slot is not None:
            slot.handed = -math.inf
            slot.cooldown = self._cooldown

    def again(self, path: bytes, now: float) -> None:
        """The look at a path came too early: look again without a rest, after the rename that led to it if one waits."""
        self._looks.slot(path).handed = -math.inf
        self._looks.want_by(path, now, now=now)

    def is_renamed(self, path: bytes) -> bool:
        """Return True if a rename that concerns a path waits."""
        return self._renames.concern(path)

    def is_symlink(self, path: bytes) -> None:
        """A look has found a symlink: its next look comes soon, however often it changes."""
        slot = self._looks.get(path)
        if slot is not None:
            slot.cooldown = min(self._cooldown, SYMLINK_REST)
            if slot.due is not None:
                self._looks.want_by(path, slot.rested)

    def clear(self) -> None:
        """Forget everything: all of the tree will be looked at."""
        self._looks = Agenda(self._cooldown)
        self._walks = Agenda(self._cooldown)
        self._renames = Renames()
        self._out = []

    def _collapse(self, now: float) -> None:
        """Replace all that waits by a walk, but for what would be found late by it: an upload in another directory, for example."""
        kept = self._looks.newest(min(KEPT, self._limit // 2))
        self.clear()
        self._walk(ROOT, now)
        for path, old in kept:
            slot = self._looks.slot(path)
            slot.since, slot.tries, slot.fresh, slot.unclosed = (
                old.since, old.tries, old.fresh, old.unclosed
            )  # fmt: skip
            self._looks.want(path, old.due or now, now=now)

    def _take_looks(
        self, now: float, held: Callable[[bytes], float], limit: int | None
    ) -> list[Work]:
        """Hand out looks that are due, at most `limit`."""
        due = self._looks.take(now, held, limit=limit)
        looks = [self._hand_out(path, slot, now) for path, slot in due]
        self._out = [look.path for look in looks]
        return looks

    def _hand_out(self, path: bytes, slot: Slot, now: float) -> Work:
        force = slot.since is not None and now >= slot.since + self._max_wait
        if force:
            slot.since = None
        self._spend(slot, now)
        return Work(WorkKind.EXAMINE, path, force=force, unclosed=slot.unclosed)

    def _spend(self, slot: Slot, now: float) -> None:
        if slot.fresh and slot.handed > -math.inf:
            slot.cooldown = min(2 * slot.cooldown, LONGEST * self._cooldown)
        slot.handed = now
        slot.fresh = False

    def _believe_read(self) -> None:
        """What was handed out last time and not called busy was read whole."""
        for path in self._out:
            slot = self._looks.get(path)
            if slot is not None and slot.due is None:
                slot.since = None
                slot.tries = 0
                slot.unclosed = False


def _above(path: bytes) -> list[bytes]:
    """Return the directories above a path, the root first."""
    above = []
    while path:
        path = parent(path)
        above.append(path)
    return above[::-1]


def _rename(agenda: Agenda, source: bytes, target: bytes) -> None:
    """Relabel what is wanted at and below `source`; what was wanted at and below `target` is gone with its content.

    How long a path rests belongs to the name: a file that is saved by renaming is the same file to its readers.
    """
    taken = []
    for path in list(agenda.below(source)):
        slot = agenda.slot(path)
        kept = (slot.since, slot.tries, slot.fresh, slot.unclosed)
        taken.append((rebase(path, source, target), slot.due, kept))
        slot.since = None
        agenda.cancel(path)
    for path in list(agenda.below(target)):
        agenda.slot(path).since = None
        agenda.cancel(path)
    for path, due, kept in taken:
        slot = agenda.slot(path)
        slot.since, slot.tries, slot.fresh, slot.unclosed = kept
        agenda.want(path, max(due or 0.0, slot.rested))
