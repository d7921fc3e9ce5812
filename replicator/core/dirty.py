"""Dirty set of one frontend: the paths whose current version the frontend has not confirmed.

The set is level-triggered: a path is dirty or clean, no matter how often it changed. Each call of `mark` gives the path a new
generation. A sent version carries the generation under which it was read, and its acknowledgement clears the path only if that
is still the current generation: a path that changes while its previous version is in flight stays dirty.

The set is bounded. At its limit it empties itself and sets `overflowed`; the frontend must then be compared again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from replicator.core.pending import Inside, Key, Pending, PendingChange, PendingKind, State
from replicator.core.queues import Queues
from replicator.model import parent, rebase

LIMIT = 200_000
"""Maximum number of dirty paths of one frontend: at most about 80 MB. A comparison pauses long before (see `HIGH_WATER` in engine.frontend)."""


class DirtySet:
    """The set. Times are seconds of a monotonic clock, passed in by the caller.

    Args:
        limit: maximum number of paths.

    Attributes:
        overflowed: True after the limit was exceeded; reset by `clear`.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._debts: dict[Key, Pending] = {}
        self._queues = Queues()
        self._inside: dict[Key, Inside] = {}
        self._generations = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._debts)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._debts)

    def __contains__(self, key: Key) -> bool:
        return key in self._debts

    @property
    def bulk_open(self) -> int:
        """Number of bulk paths that are waiting or sent, not blocked."""
        return self._queues.bulk_open

    def mark(self, key: Key, owed: PendingKind, now: float, *, urgent: bool) -> int:
        """Queue a path to be read and sent; return its new generation.

        Args:
            key: the path.
            owed: what the frontend needs; the higher of this and what was owed before counts.
            now: the current time.
            urgent: True for a live change; it stays urgent until it is acknowledged.
        """
        debt = self._enter(key, now)
        debt.owed = max(owed, debt.owed)
        self._queues.turn(key, debt, State.WAITING, urgent=debt.urgent or urgent)
        return debt.generation

    def mark_sent(self, key: Key, now: float) -> int:
        """Mark a path whose current version is already in flight; return its new generation.

        If the connection is lost, it is unknown whether the version arrived: the path is then owed as ADOPT, by a comparison of digests.
        """
        debt = self._enter(key, now)
        debt.owed = max(debt.owed, PendingKind.ADOPT)
        self._queues.turn(key, debt, State.SENT, urgent=True)
        return debt.generation

    def holds(self, key: Key) -> bool:
        """Return True if the current version is confirmed or in flight."""
        debt = self._debts.get(key)
        return debt is None or debt.state is State.SENT

    def since(self, key: Key) -> float | None:
        """Return the time at which a path became dirty; None if it is clean."""
        debt = self._debts.get(key)
        return debt.since if debt is not None else None

    def is_urgent(self, key: Key) -> bool:
        """Return True if a path is dirty because of a live change."""
        debt = self._debts.get(key)
        return debt is not None and debt.urgent

    def any_refused(self, keys: Iterable[Key]) -> bool:
        """Return True if one of these paths was refused by the frontend."""
        return any(key in self._debts and self._debts[key].reason for key in keys)

    def is_on_its_way(self, key: Key, *, urgent: bool) -> bool:
        """Return True if a path is in flight, or queued before anything that is marked with this `urgent` from now on."""
        debt = self._debts.get(key)
        return debt is not None and (
            debt.state is State.SENT or (debt.state is State.WAITING and debt.urgent >= urgent)
        )

    def is_current(self, key: Key, generation: int) -> bool:
        """Return True if the path was not marked again since `generation`."""
        debt = self._debts.get(key)
        return debt is not None and debt.generation == generation

    def generation(self, key: Key) -> int:
        """Return the current generation of a path; 0, which is less than any other, if it is clean."""
        debt = self._debts.get(key)
        return debt.generation if debt is not None else 0

    def take(
        self, now: float, limit: int, is_cut: Callable[[bytes], bool] = lambda _: False
    ) -> list[PendingChange]:
        """Return paths to read and send now; their state becomes SENT.

        Args:
            now: the current time.
            limit: maximum number of paths.
            is_cut: returns True for a bulk path after which the batch should end, once it holds half of `limit`.
        """
        return self._queues.take(now, limit, is_cut)

    def waiting_or_sent(self) -> bool:
        """Return True if any path is waiting or in flight, not blocked."""
        return any(debt.state is not State.BLOCKED for debt in self._debts.values())

    def next_retry(self) -> float | None:
        """Return the time of the next retry; None if there is none. It may be too early, never too late."""
        return self._queues.next_retry()

    def acknowledged(self, key: Key, generation: int) -> bool:
        """Record that the version read under `generation` has arrived; return True if the path is clean now."""
        if not self.is_current(key, generation):
            return False
        self.drop(key)
        return True

    def put_back(self, key: Key, generation: int) -> None:
        """Queue a path again that `take` returned and that was not sent."""
        debt = self._debts.get(key)
        if debt is not None and debt.generation == generation and debt.state is State.SENT:
            self._queues.turn(key, debt, State.WAITING)

    def refused(self, key: Key, generation: int, owed: PendingKind, reason: str) -> int | None:
        """Record a refusal; return the number of refusals in a row, or None if the path was marked again since `generation`.

        The caller must then `block` the path for a while, or `mark` it again.

        Args:
            key: the path.
            generation: the one under which the refused version was read.
            owed: what must be sent next.
            reason: why the frontend refused; shown to the operator.
        """
        debt = self._debts.get(key)
        if debt is None or debt.generation != generation:
            return None
        debt.attempts += 1
        debt.owed = owed
        debt.reason = reason
        return debt.attempts

    def explain(self, key: Key, reason: str) -> None:
        """Set the reason that is shown to the operator; empty for a reason that resolves itself."""
        debt = self._debts.get(key)
        if debt is not None:
            debt.reason = reason

    def block(self, key: Key, until: float) -> None:
        """Block a path until a time; does nothing if an overflow has removed the path."""
        debt = self._debts.get(key)
        if debt is not None:
            self._queues.block(key, debt, until)

    def lost(self) -> None:
        """Record that the connection was lost: paths in flight are queued again."""
        for key, debt in self._debts.items():
            if debt.state is State.SENT:
                self._queues.turn(key, debt, State.WAITING)

    def drop(self, key: Key) -> None:
        """Remove a path: it is clean, or not replicated any more."""
        debt = self._debts.pop(key, None)
        if debt is not None:
            self._queues.turn(key, debt, State.CLEAN)
            debt.inside.keys.discard(key)
            if not debt.inside.keys:
                self._left(debt.inside)

    def forget(self, lost: Callable[[int], bool]) -> None:
        """Remove all paths of the trees for whose number `lost` returns True."""
        for key in [key for key in self._debts if lost(key.tree)]:
            self.drop(key)

    def clear(self) -> None:
        """Remove all paths; acknowledgements of versions in flight will be ignored."""
        self._debts.clear()
        self._inside.clear()
        self._queues.clear()
        self.overflowed = False

    def holds_any_in(self, key: Key) -> bool:
        """Return True if a path directly inside a directory is dirty. O(1): a frontend's answers may call it often."""
        inside = self._inside.get(key)
        return inside is not None and bool(inside.keys)

    def at_or_below(self, key: Key) -> list[Key]:
        """Return the dirty paths at or below a path, in the order of marking. The cost depends only on their number."""
        found = {key} if key in self._debts else set()
        directories = [key]
        while directories:
            inside = self._inside.get(directories.pop())
            if inside is not None:
                found |= inside.keys
                directories += inside.below
        return sorted(found, key=lambda one: self._debts[one].generation)

    def rename(self, source: Key, target: Key, now: float) -> None:
        """Record a rename on the backend: what is dirty at or below `source` becomes dirty at or below `target`.

        What was read of either before the rename is not sent any more. A version of `source` in flight is owed under `target` as
        before: if it arrives, it is found there by its digest.
        """
        for key in self.at_or_below(target):
            self.drop(key)
        for key in self.at_or_below(source):
            owed, urgent = self._debts[key].owed, self._debts[key].urgent
            self.drop(key)
            moved = Key(target.tree, rebase(key.path, source.path, target.path))
            self.mark(moved, owed, now, urgent=urgent)

    def oldest(self) -> float | None:
        """Return the time at which the oldest dirty path became dirty; None if all are clean."""
        return next(iter(self._debts.values())).since if self._debts else None

    def withhold(self, key: Key) -> None:
        """Exclude a path that the backend cannot read from lag and status, until it is marked again."""
        debt = self._debts.get(key)
        if debt is not None:
            debt.withheld = True

    def lacking(self) -> Iterator[tuple[Key, Pending]]:
        """Yield the dirty paths that the backend can read, the oldest first; the set must not be changed during the iteration."""
        return ((key, debt) for key, debt in self._debts.items() if not debt.withheld)

    def some(self, begin: int, step: int) -> Iterator[tuple[Key, Pending]]:
        """Yield every `step`-th dirty path from index `begin` on, without those that the backend cannot read."""
        every = islice(self._debts.items(), begin, None, step)
        return ((key, debt) for key, debt in every if not debt.withheld)

    def lagging(self) -> float | None:
        """Return the time at which the oldest dirty path that the backend can read became dirty; None if there is none."""
        return next((debt.since for _, debt in self.lacking()), None)

    def refusals(self) -> bool:
        """Return True if the frontend refused a path that the backend can read."""
        return any(debt.reason and not debt.withheld for debt in self._debts.values())

    def troubled(self) -> bool:
        """Return True if any path was refused, or cannot be read on the backend."""
        return any(debt.reason for debt in self._debts.values())

    def late(self, now: float, after: float) -> list[tuple[Key, str]]:
        """Return the paths that have been dirty for `after` seconds or were refused, each with its reason or an empty string."""
        return [
            (key, debt.reason)
            for key, debt in self._debts.items()
            if debt.reason or now - debt.since >= after
        ]

    def problems(self, limit: int) -> list[tuple[Key, str]]:
        """Return at most `limit` blocked paths with their reasons."""
        found = self._queues.blocked(4 * limit)
        return [(key, debt.reason) for key, debt in found if debt.reason][:limit]

    def _enter(self, key: Key, now: float) -> Pending:
        debt = self._debts.get(key)
        if debt is None:
            if len(self._debts) >= self._limit:
                self.clear()
                self.overflowed = True
            inside = self._enter_directory(Key(key.tree, parent(key.path)))
            debt = self._debts[key] = Pending(now, inside)
            inside.keys.add(key)
        self._generations += 1
        debt.generation = self._generations
        debt.withheld = False
        return debt

    def _enter_directory(self, directory: Key) -> Inside:
        """Return the index entry of a directory; if it is new, create entries for its parents as well."""
        inside = self._inside.get(directory)
        if inside is not None:
            return inside
        first = inside = self._inside[directory] = Inside(directory)
        while inside.key.path:
            above = Key(directory.tree, parent(inside.key.path))
            known = self._inside.get(above)
            if known is not None:
                known.below.add(inside.key)
                break
            made = self._inside[above] = Inside(above)
            made.below.add(inside.key)
            inside = made
        return first

    def _left(self, inside: Inside | None) -> None:
        """Remove the index entry of a directory if nothing inside or below it is dirty, and those of its parents likewise."""
        while inside is not None and not inside.keys and not inside.below:
            del self._inside[inside.key]
            if not inside.key.path:
                return
            above = self._inside[Key(inside.key.tree, parent(inside.key.path))]
            above.below.discard(inside.key)
            inside = above
