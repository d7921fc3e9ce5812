"""Processes the answers of one frontend: marks paths clean, or schedules what follows from a refusal.

A refused path is tried again after growing delays, and never dropped. Some reasons say that the frontend holds something else than
expected; then a comparison is requested as well.
"""

from __future__ import annotations

from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.reader import Unreadable
from replicator.engine.context import Context
from replicator.engine.frontend.in_flight import InFlight, Moves
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import loop_time
from replicator.errors import ChannelLost
from replicator.model import ancestors, parent
from replicator.wire import changes

KEPT = "kept, because it holds files that are not ours"
"""Reason of a directory that is not removed."""

KEPT_AFTER = 4
"""Attempts to remove a directory, over some six seconds, before its content counts as excluded or foreign, and it is kept."""

HASTENED = 1000
"""Deletions below a directory that are sent at once because a file must replace the directory; the next attempt sends more."""

SOON = 0.2
"""Seconds until a path is tried again after a refusal that a race explains."""

PATIENCE = 30.0
"""Seconds for which a path may be dirty before a reason that ends by itself is reported as an error: three times the default of `settle.max_wait`."""

RACES = (changes.DIGEST_MISMATCH, changes.VANISHED, changes.BASE_MISMATCH)
"""Reasons that usually end by themselves. The first BASE_MISMATCH or VANISHED of a path is retried at once, DIGEST_MISMATCH after SOON."""


class Answers:
    """Processes the answers of one frontend.

    Args:
        state: state of the frontend.
        context: what all replicas share.
        moves: moves in flight on this connection.
    """

    def __init__(self, state: FrontendState, context: Context, moves: Moves) -> None:
        self._state = state
        self._context = context
        self._dirty = state.dirty
        self._moves = moves

    def take(self, in_flight: InFlight, reason: str, detail: str) -> None:
        """Process an answer; see `engine.frontend.in_flight.Answered`.

        Raises:
            ChannelLost: if the target directory was removed from the frontend.
        """
        if reason:
            self._state.refusals[reason] += 1
        if reason == changes.ROOT_GONE:
            raise ChannelLost("the target directory was removed from the frontend")
        if in_flight.part.target:
            self._moved(in_flight, refused=bool(reason))
        elif not reason:
            self.clean(in_flight.part.key, in_flight.generation, removed=in_flight.part.is_delete)
        else:
            self._refused(in_flight, reason, detail)

    def _moved(self, in_flight: InFlight, *, refused: bool) -> None:
        """Record the answer to a move.

        After a refusal the old name may still exist, and the new one not: the old name is read again and deleted, and both are
        compared. A comparison is requested only now: an earlier listing could show the frontend before the move.
        """
        uncertain = self._moves.answered(in_flight.part)
        source, target = in_flight.part.ends
        if refused:
            self._state.resync_queue.request(source)
        if refused or uncertain:
            self._state.resync_queue.request(target)
        if refused:
            self._dirty.put_back(source, in_flight.generation)
        else:
            self.clean(source, in_flight.generation)

    def clean(self, key: Key, generation: int, *, removed: bool = False) -> None:
        """Mark a path clean if it was not marked dirty again since `generation`; `removed`: the answer was to a deletion."""
        if not self._dirty.acknowledged(key, generation):
            return
        if removed:
            self._state.deletions_sent += 1
        else:
            self._state.files_sent += 1
        self._state.errors.sent(key, "removed" if removed else "sent")
        self._state.errors.resolved(key)
        self._state.progress.arrived(key)
        self._state.pending_paths.reduced.set()
        self._state.confirmed(key)

    def unreadable(self, one: Unreadable) -> None:
        """Schedule another attempt for a path that cannot be read on the backend, and report why."""
        key, generation, kind = one.pending
        passing = one.passing and self._is_recent(key)
        attempts = self._dirty.refused(key, generation, kind, "" if passing else one.reason)
        if attempts is not None:
            self._dirty.mark_unreadable(key)
            self._dirty.block(key, loop_time() + self._context.retry.delay(attempts))
            self._report(key, one.reason, passing=passing)

    def _is_recent(self, key: Key) -> bool:
        since = self._dirty.since(key)
        return since is not None and loop_time() - since < PATIENCE

    def _report(self, key: Key, reason: str, *, passing: bool = False) -> None:
        """Record why a path is not replicated; `passing`: for a reason that ends by itself."""
        errors = self._state.errors
        (errors.delayed if passing else errors.refused)(key, reason)
        self._state.pending_paths.reduced.set()

    def _refused(self, in_flight: InFlight, reason: str, detail: str) -> None:
        key = in_flight.part.key
        early = reason == changes.VANISHED and self._renew_above(in_flight)
        # After BASE_MISMATCH, send a delta against the file that the frontend has now, or the whole content if the refused change
        # was such a delta already. After any other reason, send such a delta again if it was one, otherwise the whole content.
        by_delta = (reason == changes.BASE_MISMATCH) != in_flight.by_sums
        kind = PendingKind.DELTA if by_delta else PendingKind.CONTENT
        attempts = self._dirty.refused(key, in_flight.generation, kind, "")
        if attempts is None:
            return
        race = reason in RACES and (attempts == 1 or reason != changes.BASE_MISMATCH)
        passing = race and self._is_recent(key)
        if not passing:
            self._dirty.set_reason(key, f"{reason}: {detail}")
        if reason == changes.PATH_REFUSED and attempts == 1:
            # Perhaps a directory above it is something else there.
            self._state.resync_queue.request(Key(key.tree, parent(parent(key.path))))
        if reason in (changes.BASE_MISMATCH, changes.VANISHED) and attempts == 1:
            self._dirty.mark(key, kind, loop_time(), urgent=not in_flight.bulk)
        elif reason == changes.NOT_EMPTY:
            self._not_empty(in_flight, attempts, detail)
        else:
            delay = self._context.retry.delay(attempts)
            soon = passing and (early or attempts < 3)
            self._dirty.block(key, loop_time() + (min(SOON, delay) if soon else delay))
            self._report(key, detail or reason, passing=passing)

    def _renew_above(self, in_flight: InFlight) -> bool:
        """The frontend lacks a directory above the path. Mark the missing directories dirty, so that they are sent first.

        A directory that is sent or queued is not marked again: behind many live changes it would be sent last.

        Returns:
            False if one of these directories was refused itself; then nothing is marked.
        """
        tree, path = in_flight.part.key
        above = [Key(tree, one) for one in reversed(list(ancestors(path)))]
        if self._dirty.any_refused(above):
            return False
        # A live change may have been read like bulk; what it needs must still go before it.
        urgent = not in_flight.bulk or self._dirty.is_urgent(in_flight.part.key)
        for key in above:
            if not self._dirty.is_sent_or_queued(key, urgent=urgent):
                self._dirty.mark(key, PendingKind.CONTENT, loop_time(), urgent=urgent)
        return True

    def _not_empty(self, in_flight: InFlight, attempts: int, detail: str) -> None:
        """The frontend cannot remove a directory because it is not empty.

        If deletions below it are still pending, try again later; otherwise compare the directory. After KEPT_AFTER attempts to
        delete it, the directory is kept (its content is excluded or foreign) and reported. One that a file or symlink must
        replace stays dirty.
        """
        key = in_flight.part.key
        if not self._dirty.any_below(key):
            if in_flight.part.is_delete and attempts > KEPT_AFTER:
                self.clean(key, in_flight.generation)
                self._report(key, KEPT)
                return
            self._state.resync_queue.request(key)
        elif not in_flight.part.is_delete:
            self._dirty.hasten_removals(key, HASTENED)
        self._dirty.block(key, loop_time() + SOON * 2 ** min(attempts, 6))
        if attempts > 1:
            self._report(key, detail)
