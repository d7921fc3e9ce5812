"""Dirty set of one frontend: the paths whose current version the frontend has not confirmed.

The set is level-triggered: a path is dirty or clean, no matter how often it changed. Each call of `mark` gives the path a new
generation. A sent version carries the generation under which it was read, and its acknowledgement clears the path only if that
is still the current generation: a path that changes while its previous version is in flight stays dirty.

The set is bounded. At its limit it empties itself and sets `overflowed`; the frontend must then be compared again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain, islice

from replicator.core.path_set import PathIndex
from replicator.core.pending import Key, PathState, Pending, PendingChange, PendingKind
from replicator.core.queues import Queues
from replicator.model import rebase

LIMIT = 200_000
"""Maximum number of dirty paths of one frontend: at most about 80 MB. A comparison pauses long before (`HIGH_WATER` of engine.frontend.comparisons)."""


class DirtySet:
    """The set. Times are seconds of a monotonic clock, passed in by the caller.

    Args:
        limit: maximum number of paths.

    Attributes:
        overflowed: True after the limit was exceeded; reset by `clear`.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._pending: dict[Key, Pending] = {}
        self._queues = Queues()
        self._indexes: dict[int, PathIndex] = {}  # by tree
        self._refused: dict[
            Key, Pending
        ] = {}  # those with a reason: a scan of 200,000 would block the event loop for 10 ms
        # Renamed paths: they have been dirty for longer than their place in `_pending` says.
        self._moved: dict[Key, Pending] = {}
        self._generations = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._pending)

    def __contains__(self, key: Key) -> bool:
        return key in self._pending

    @property
    def held(self) -> frozenset[int]:
        """The trees of which nothing is to be sent; see `hold`."""
        return self._queues.held

    @property
    def bulk_open(self) -> int:
        """Number of bulk paths that are waiting or sent, neither blocked nor held."""
        return self._queues.bulk_open

    def has_waiting_content(self, tree: int) -> bool:
        """Return True while a path of a tree is to be read and sent that was not deleted."""
        return self._queues.has_content_of(tree)

    def is_overtaking(self, key: Key, generation: int) -> bool:
        """Return True for a deletion that must wait: a path that changed again after it has a newer version that was not sent."""
        renewed = self._queues.renewed
        if not renewed or next(reversed(renewed.values())) <= generation:
            return False
        pending = self._pending.get(key)
        return pending is not None and pending.removal

    def sent(self, key: Key) -> None:
        """Record that the current version of a path that `take` returned was sent."""
        self._queues.renewed.pop(key, None)

    def mark(
        self,
        key: Key,
        kind: PendingKind,
        now: float,
        *,
        urgent: bool,
        removal: bool = False,
    ) -> int:
        """Queue a path to be read and sent; return its new generation.

        Args:
            key: the path.
            kind: what the frontend needs; the higher of this and the previous kind counts.
            now: the current time.
            urgent: True for a live change; it stays urgent until it is acknowledged.
            removal: True if the path was deleted: it is sent when no content is waiting.
        """
        pending = self._record(key, now)
        was_clean = pending.state is PathState.CLEAN
        pending.kind = max(kind, pending.kind)
        self._queues.set_state(
            key, pending, PathState.WAITING, urgent=pending.urgent or urgent, removal=removal
        )
        if not was_clean:
            self._queues.renewed.pop(key, None)
            if not removal and key.tree not in self.held:
                self._queues.renewed[key] = pending.generation
        return pending.generation

    def mark_sent(self, key: Key, now: float, *, removal: bool = False) -> int:
        """Mark a path whose current version is already in flight; return its new generation.

        If the connection is lost, it is unknown whether the version arrived: the path is then pending as ADOPT, and digests are compared.
        """
        pending = self._record(key, now)
        pending.kind = max(pending.kind, PendingKind.ADOPT)
        self._queues.set_state(key, pending, PathState.SENT, urgent=True, removal=removal)
        self.sent(key)
        return pending.generation

    def is_clean_or_sent(self, key: Key) -> bool:
        """Return True if the current version is confirmed or in flight."""
        pending = self._pending.get(key)
        return pending is None or pending.state is PathState.SENT

    def since(self, key: Key) -> float | None:
        """Return the time at which a path became dirty; None if it is clean."""
        pending = self._pending.get(key)
        return pending.since if pending is not None else None

    def is_urgent(self, key: Key) -> bool:
        """Return True if a path is dirty because of a live change."""
        pending = self._pending.get(key)
        return pending is not None and pending.urgent

    def any_refused(self, keys: Iterable[Key]) -> bool:
        """Return True if one of these paths was refused by the frontend."""
        return any(key in self._pending and self._pending[key].reason for key in keys)

    def is_sent_or_queued(self, key: Key, *, urgent: bool) -> bool:
        """Return True if a path is in flight, or queued before anything that is marked with this `urgent` from now on."""
        pending = self._pending.get(key)
        return pending is not None and (
            pending.state is PathState.SENT
            or (
                pending.state is PathState.WAITING
                and key.tree not in self.held
                and pending.urgent >= urgent
                and not pending.removal
            )
        )

    def is_current(self, key: Key, generation: int) -> bool:
        """Return True if the path was not marked again since `generation`."""
        return self._current(key, generation) is not None

    def _current(self, key: Key, generation: int) -> Pending | None:
        """Return the record of a path that was not marked again since `generation`."""
        pending = self._pending.get(key)
        return pending if pending is not None and pending.generation == generation else None

    def generation(self, key: Key) -> int:
        """Return the current generation of a path; 0, which is less than any other, if it is clean."""
        pending = self._pending.get(key)
        return pending.generation if pending is not None else 0

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
        """Return True if any path is waiting or in flight, neither blocked nor held."""
        return any(
            one.state is PathState.SENT
            or (one.state is PathState.WAITING and key.tree not in self.held)
            for key, one in self._pending.items()
        )

    def next_retry(self) -> float | None:
        """Return the time of the next retry; None if there is none. It may be too early, never too late."""
        return self._queues.next_retry()

    def acknowledged(self, key: Key, generation: int) -> bool:
        """Record that the version read under `generation` has arrived; return True if the path is clean now."""
        if not self.is_current(key, generation):
            return False
        self.drop(key)
        return True

    def hasten_removals(self, directory: Key, most: int) -> None:
        """Let deletions below a directory not wait for content, because a file is to replace it; look at about `most` paths."""
        for key in islice(self._at_or_below(directory), most + 1):
            pending = self._pending[key]
            if pending.removal and key != directory:
                self._queues.set_state(key, pending, pending.state, removal=False)

    def put_back(self, key: Key, generation: int) -> None:
        """Queue a path again that `take` returned and that was not sent."""
        pending = self._current(key, generation)
        if pending is not None and pending.state is PathState.SENT:
            self._queues.set_state(key, pending, PathState.WAITING)

    def refused(self, key: Key, generation: int, kind: PendingKind, reason: str) -> int | None:
        """Record that the frontend refused a version, or that it could not be read on the backend.

        Return the number of such failures in a row, or None if the path was marked again since `generation`.

        The caller must then `block` the path for a while, or `mark` it again.

        Args:
            key: the path.
            generation: the one under which the refused version was read.
            kind: what must be sent next.
            reason: why; shown to the operator.
        """
        pending = self._current(key, generation)
        if pending is None:
            return None
        pending.attempts += 1
        pending.kind = kind
        self._set_reason(key, pending, reason)
        return pending.attempts

    def set_reason(self, key: Key, reason: str) -> None:
        """Set the reason that is shown to the operator; empty for a reason that resolves itself."""
        pending = self._pending.get(key)
        if pending is not None:
            self._set_reason(key, pending, reason)

    def _set_reason(self, key: Key, pending: Pending, reason: str) -> None:
        pending.reason = reason
        if reason:
            self._refused[key] = pending
        else:
            self._refused.pop(key, None)

    def block(self, key: Key, until: float) -> None:
        """Block a path until a time; does nothing if an overflow has removed the path."""
        pending = self._pending.get(key)
        if pending is not None:
            self._queues.block(key, pending, until)

    def retry_now(self) -> None:
        """Queue all blocked paths soon: what they were refused for may be over. The number of refusals in a row is kept."""
        self._queues.retry_now()

    def hold(self, trees: Collection[int]) -> None:
        """Return no path of these trees from `take`, and those of all others again. What was taken before can still be acknowledged."""
        self._queues.hold(frozenset(trees))

    def connection_lost(self) -> None:
        """Record that the connection was lost: paths in flight are queued again, in the order of marking."""
        sent = [one for one in self._pending.items() if one[1].state is PathState.SENT]
        for key, pending in sorted(sent, key=lambda one: one[1].generation):
            self._queues.set_state(key, pending, PathState.WAITING)

    def drop(self, key: Key) -> None:
        """Remove a path: it is clean, or not replicated any more."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            self._queues.set_state(key, pending, PathState.CLEAN)
            self._refused.pop(key, None)
            self._moved.pop(key, None)
            self._indexes[key.tree].discard(key.path)

    def forget_trees(self, is_removed: Callable[[int], bool]) -> None:
        """Remove all paths of the trees for whose number `is_removed` returns True."""
        removed = [key for key in self._pending if is_removed(key.tree)]
        if len(removed) == len(self._pending) and not self.overflowed:
            self.clear()  # of 200,000 paths 27 ms instead of 250
            return
        for key in removed:
            self.drop(key)
        self._indexes = {n: index for n, index in self._indexes.items() if not is_removed(n)}

    def clear(self) -> None:
        """Remove all paths; acknowledgements of versions in flight will be ignored."""
        self._pending.clear()
        self._indexes.clear()
        self._refused.clear()
        self._moved.clear()
        self._queues.clear()
        self.overflowed = False

    def any_below(self, directory: Key) -> bool:
        """Return True if a path below a directory is dirty. O(1): a frontend's answers may call it often."""
        index = self._indexes.get(directory.tree)
        return index is not None and index.any_below(directory.path)

    def at_or_below(self, key: Key) -> list[Key]:
        """Return the dirty paths at or below a path, in the order of marking. The cost depends only on their number."""
        return sorted(self._at_or_below(key), key=lambda one: self._pending[one].generation)

    def _at_or_below(self, key: Key) -> Iterator[Key]:
        """Yield the dirty paths at or below a path, parents first; none may be added or removed during the iteration."""
        index = self._indexes.get(key.tree)
        if index is not None:
            yield from map(partial(Key, key.tree), index.at_or_below(key.path))

    def has_more_below(self, directory: Key, count: int) -> bool:
        """Return True if more than `count` paths below a directory are dirty; the cost depends only on `count`."""
        found = sum(1 for _ in islice(self._at_or_below(directory), count + 2))
        return found - (directory in self._pending) > count

    def rename(self, source: Key, target: Key, now: float) -> None:
        """Record a rename on the backend: what is dirty at or below `source` becomes dirty at or below `target`.

        Versions of either that were read before the rename are not sent any more. A version of `source` in flight stays pending under
        `target`, as ADOPT: if it has arrived, the agent finds it there by its digest.
        """
        for key in self.at_or_below(target):
            self.drop(key)
        for key in self.at_or_below(source):
            pending = self._pending[key]
            self.drop(key)
            moved = Key(target.tree, rebase(key.path, source.path, target.path))
            self.mark(moved, pending.kind, now, urgent=pending.urgent, removal=pending.removal)
            renamed = self._moved[moved] = self._pending[moved]
            renamed.since = pending.since

    def unconfirmed(self, key: Key, until: float) -> Iterator[tuple[Key, str]]:
        """Yield the paths at or below `key` that have been dirty since this time or longer, with the reason of the last refusal.

        The set must not be changed during the iteration.
        """
        keys = self._at_or_below(key) if key.path else self._pending
        for one in keys:
            pending = self._pending[one]
            if pending.since <= until and one.tree == key.tree:
                yield one, pending.reason

    def oldest(self, *, sendable: bool = False) -> float | None:
        """Return the time at which the oldest dirty path became dirty; None if there is none.

        Args:
            sendable: ignore paths that the backend cannot read.
        """
        dirty, moved = (
            (one.since for one in some.values() if not (sendable and one.unreadable))
            for some in (self._pending, self._moved)
        )
        return min(chain(islice(dirty, 1), moved), default=None)

    def mark_unreadable(self, key: Key) -> None:
        """Exclude a path that the backend cannot read from lag and status, until it is marked again."""
        pending = self._pending.get(key)
        if pending is not None:
            pending.unreadable = True

    def sendable(self, begin: int = 0, step: int = 1) -> Iterator[tuple[Key, Pending]]:
        """Yield the dirty paths that the backend can read, in the order in which they or their names became dirty.

        The set must not be changed during the iteration.

        Args:
            begin: index of the first dirty path.
            step: 1 for all from there on, 2 for every second, and so on.
        """
        every = islice(self._pending.items(), begin, None, step)
        return ((key, pending) for key, pending in every if not pending.unreadable)

    def has_refusals(self) -> bool:
        """Return True if the frontend refused a path that the backend can read."""
        return any(True for _ in self.refusals())

    def refusals(self) -> Iterator[Key]:
        """Yield the paths that the frontend refused and the backend can read; the set must not be changed during the iteration."""
        return (key for key, pending in self._refused.items() if not pending.unreadable)

    def has_reasons(self) -> bool:
        """Return True if any path was refused, or cannot be read on the backend."""
        return bool(self._refused)

    def late(self, now: float, after: float) -> list[tuple[Key, str]]:
        """Return the paths that have been dirty for `after` seconds or were refused, each with its reason or an empty string."""
        return [
            (key, pending.reason)
            for key, pending in self._pending.items()
            if pending.reason or now - pending.since >= after
        ]

    def problems(self, limit: int) -> list[tuple[Key, str]]:
        """Return at most `limit` blocked paths with their reasons."""
        found: dict[Key, str] = {}
        for key, pending in self._queues.blocked():
            if pending.reason:
                found[key] = pending.reason
                if len(found) == limit:
                    break
        return list(found.items())

    def _record(self, key: Key, now: float) -> Pending:
        pending = self._pending.get(key)
        if pending is None:
            if len(self._pending) >= self._limit:
                self.clear()
                self.overflowed = True
            pending = self._pending[key] = Pending(now)
            index = self._indexes.get(key.tree)
            if index is None:
                index = self._indexes[key.tree] = PathIndex(partial(self._contains, key.tree))
            index.add(key.path)
        self._generations += 1
        pending.generation = self._generations
        pending.unreadable = False
        return pending

    def _contains(self, tree: int, path: bytes) -> bool:
        return Key(tree, path) in self._pending
