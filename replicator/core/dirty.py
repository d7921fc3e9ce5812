"""What one frontend is owed: the set of paths that it does not provably hold in their current version.

Level-triggered: a path is in the set or it is not; how often it changed meanwhile does not matter. Each marking gives the
path a new generation. What is sent carries the generation it was read under, and its acknowledgement clears the path only
if the generation is still that one: a path that changed again while its last version was under way stays dirty.

The set is bounded; past its limit it empties itself and says `overflowed`: the frontend must be reconciled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from replicator.core.debts import Debt, Due, Inside, Key, Owed, State
from replicator.core.queues import Queues
from replicator.model import parent, rebase

LIMIT = 200_000
"""Paths owed to one frontend: about 80 MB at worst. A reconcile pauses long before (see engine.comparisons)."""


class DirtySet:
    """The set; times are seconds of a monotonic clock, given by the caller."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._debts: dict[Key, Debt] = {}
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
        """Paths marked as bulk that are neither acknowledged nor blocked."""
        return self._queues.bulk_open

    def mark(self, key: Key, owed: Owed, now: float, *, urgent: bool) -> int:
        """Make a path dirty, waiting to be read and sent; return its new generation."""
        debt = self._enter(key, now)
        debt.owed = max(owed, debt.owed)
        self._queues.turn(key, debt, State.WAITING, urgent=debt.urgent or urgent)
        return debt.generation

    def mark_sent(self, key: Key, now: float) -> int:
        """Make a path dirty with its current version already under way; return its new generation.

        If that is lost, nobody knows whether it has arrived: then the frontend compares digests.
        """
        debt = self._enter(key, now)
        debt.owed = max(debt.owed, Owed.ADOPT)
        self._queues.turn(key, debt, State.SENT, urgent=True)
        return debt.generation

    def holds(self, key: Key) -> bool:
        """Return True if the frontend has, or will have when all that was sent is done, the current version."""
        debt = self._debts.get(key)
        return debt is None or debt.state is State.SENT

    def since(self, key: Key) -> float | None:
        """Return since when a path is owed; None if it is not."""
        debt = self._debts.get(key)
        return debt.since if debt is not None else None

    def is_urgent(self, key: Key) -> bool:
        """Return True if a path is owed as a live change."""
        debt = self._debts.get(key)
        return debt is not None and debt.urgent

    def any_refused(self, keys: Iterable[Key]) -> bool:
        """Return True if one of these paths was refused."""
        return any(key in self._debts and self._debts[key].reason for key in keys)

    def is_on_its_way(self, key: Key, *, urgent: bool) -> bool:
        """Return True if a path was sent, or is sent before whatever is marked as `urgent` from now on."""
        debt = self._debts.get(key)
        return debt is not None and (
            debt.state is State.SENT or (debt.state is State.WAITING and debt.urgent >= urgent)
        )

    def is_current(self, key: Key, generation: int) -> bool:
        """Return True if the path was not marked again since `generation`."""
        debt = self._debts.get(key)
        return debt is not None and debt.generation == generation

    def generation(self, key: Key) -> int:
        """Return the generation of a path's last marking; 0, which is less than any, if it is not owed."""
        debt = self._debts.get(key)
        return debt.generation if debt is not None else 0

    def take(
        self, now: float, limit: int, is_cut: Callable[[bytes], bool] = lambda _: False
    ) -> list[Due]:
        """Return paths to read and send now; they are *sent* from here on.

        Args:
            now: the time.
            limit: at most so many.
            is_cut: says after which bulk path it is good to stop, once half of that is taken.
        """
        return self._queues.take(now, limit, is_cut)

    def waiting_or_sent(self) -> bool:
        """Return True if anything is not merely blocked."""
        return any(debt.state is not State.BLOCKED for debt in self._debts.values())

    def next_retry(self) -> float | None:
        """Return when the next blocked path is due; None if none is."""
        return self._queues.next_retry()

    def acknowledged(self, key: Key, generation: int) -> bool:
        """The version read under `generation` has arrived; return True if the path is clean now."""
        if not self.is_current(key, generation):
            return False
        self.drop(key)
        return True

    def put_back(self, key: Key, generation: int) -> None:
        """What was taken was not sent after all: wait again."""
        debt = self._debts.get(key)
        if debt is not None and debt.generation == generation and debt.state is State.SENT:
            self._queues.turn(key, debt, State.WAITING)

    def refused(self, key: Key, generation: int, owed: Owed, reason: str) -> int | None:
        """The version was not taken; return how often in a row, or None if the path has changed again since.

        The caller decides what follows: `block` it for a while, or `mark` it at once.
        """
        debt = self._debts.get(key)
        if debt is None or debt.generation != generation:
            return None
        debt.attempts += 1
        debt.owed = owed
        debt.reason = reason
        return debt.attempts

    def explain(self, key: Key, reason: str) -> None:
        """Note why a path was refused, for people: a reason that ends by itself is not noted."""
        debt = self._debts.get(key)
        if debt is not None:
            debt.reason = reason

    def block(self, key: Key, until: float) -> None:
        """Leave a path alone until a time, unless it was forgotten by an overflow meanwhile."""
        debt = self._debts.get(key)
        if debt is not None:
            self._queues.block(key, debt, until)

    def lost(self) -> None:
        """The connection is gone: what was sent and not acknowledged waits again."""
        for key, debt in self._debts.items():
            if debt.state is State.SENT:
                self._queues.turn(key, debt, State.WAITING)

    def drop(self, key: Key) -> None:
        """Forget a path: it is clean, or nobody's business any more."""
        debt = self._debts.pop(key, None)
        if debt is not None:
            self._queues.turn(key, debt, State.CLEAN)
            debt.inside.keys.discard(key)
            if not debt.inside.keys:
                self._left(debt.inside)

    def forget(self, lost: Callable[[int], bool]) -> None:
        """Drop all paths of the trees for whose number `lost` returns True."""
        for key in [key for key in self._debts if lost(key.tree)]:
            self.drop(key)

    def clear(self) -> None:
        """Forget everything; what is under way will be acknowledged to nobody."""
        self._debts.clear()
        self._inside.clear()
        self._queues.clear()
        self.overflowed = False

    def holds_any_in(self, key: Key) -> bool:
        """Return True if something directly inside a directory is dirty. Quick: a frontend may ask for it with each answer."""
        inside = self._inside.get(key)
        return inside is not None and bool(inside.keys)

    def at_or_below(self, key: Key) -> list[Key]:
        """Return the dirty paths at or below a path, in the order of marking; costs nothing for what is dirty elsewhere."""
        found = {key} if key in self._debts else set()
        directories = [key]
        while directories:
            inside = self._inside.get(directories.pop())
            if inside is not None:
                found |= inside.keys
                directories += inside.below
        return sorted(found, key=lambda one: self._debts[one].generation)

    def rename(self, tree: int, source: bytes, target: bytes, now: float) -> None:
        """A rename was sent: what was dirty at or below `source` is dirty at or below `target`."""
        for key in self.at_or_below(Key(tree, target)):
            self.drop(key)
        for key in self.at_or_below(Key(tree, source)):
            urgent = self._debts[key].urgent
            self.drop(key)
            moved = Key(tree, rebase(key.path, source, target))
            self.mark(moved, Owed.CONTENT, now, urgent=urgent)

    def oldest(self) -> float | None:
        """Return since when the longest dirty path is dirty; None if all is clean."""
        return next(iter(self._debts.values())).since if self._debts else None

    def withhold(self, key: Key) -> None:
        """The path cannot be read on the backend: no frontend has it, and none lags for it. Until it is marked again."""
        debt = self._debts.get(key)
        if debt is not None:
            debt.withheld = True

    def lacking(self) -> Iterator[tuple[Key, Debt]]:
        """Yield what the frontend lacks and the backend could send, the longest owed first; nothing may be marked meanwhile."""
        return ((key, debt) for key, debt in self._debts.items() if not debt.withheld)

    def some(self, begin: int, step: int) -> Iterator[tuple[Key, Debt]]:
        """Yield each `step`-th of what is owed, from the `begin`-th on, as `lacking` does."""
        every = islice(self._debts.items(), begin, None, step)
        return ((key, debt) for key, debt in every if not debt.withheld)

    def lagging(self) -> float | None:
        """Return since when the frontend lacks something that the backend could send; None if it lacks nothing."""
        return next((debt.since for _, debt in self.lacking()), None)

    def refusals(self) -> bool:
        """Return True if the frontend has refused something that the backend could send."""
        return any(debt.reason and not debt.withheld for debt in self._debts.values())

    def troubled(self) -> bool:
        """Return True if anything was refused, or cannot be read on the backend."""
        return any(debt.reason for debt in self._debts.values())

    def late(self, now: float, after: float) -> list[tuple[Key, str]]:
        """Return the paths that are owed for `after` seconds or were refused, each with its reason (perhaps empty)."""
        return [
            (key, debt.reason)
            for key, debt in self._debts.items()
            if debt.reason or now - debt.since >= after
        ]

    def problems(self, limit: int) -> list[tuple[Key, str]]:
        """Return at most `limit` blocked paths with their reasons."""
        found = self._queues.blocked(4 * limit)
        return [(key, debt.reason) for key, debt in found if debt.reason][:limit]

    def _enter(self, key: Key, now: float) -> Debt:
        debt = self._debts.get(key)
        if debt is None:
            if len(self._debts) >= self._limit:
                self.clear()
                self.overflowed = True
            inside = self._enter_directory(Key(key.tree, parent(key.path)))
            debt = self._debts[key] = Debt(now, inside)
            inside.keys.add(key)
        self._generations += 1
        debt.generation = self._generations
        debt.withheld = False
        return debt

    def _enter_directory(self, directory: Key) -> Inside:
        """Return what is known to be owed in a directory; if nothing was, the directories above it learn of it."""
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
        """Nothing is owed directly inside a directory any more: forget it, and those above it that nothing is owed in."""
        while inside is not None and not inside.keys and not inside.below:
            del self._inside[inside.key]
            if not inside.key.path:
                return
            above = self._inside[Key(inside.key.tree, parent(inside.key.path))]
            above.below.discard(inside.key)
            inside = above
