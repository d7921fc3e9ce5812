"""What the backend knows of one frontend, whether it is connected or not."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import structlog

from replicator.core import lifecycle
from replicator.core.dirty import DirtySet
from replicator.core.lifecycle import State
from replicator.core.pace import Streak
from replicator.core.pending import Key
from replicator.engine.context import Context
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.pending_paths import PendingPaths
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.frontend.surplus import SurplusCheck
from replicator.engine.loop import loop_time
from replicator.engine.paused import Pause
from replicator.engine.verified import Verified
from replicator.model import printable
from replicator.ports import Address, Candidate

log = structlog.get_logger()


@dataclass
class RestoreResult:
    """What was restored of a tree from its base: names, bytes, names that failed, seconds, and why it is incomplete."""

    files: int = 0
    content: int = 0
    failed: int = 0
    seconds: float = 0.0
    error: str = ""


class FrontendState:
    """State of one frontend that outlives its connections. A session updates it; `status` and others read it.

    Args:
        candidate: the frontend, as discovered.
        context: what all replicas share.

    Attributes:
        candidate: the latest answer of discovery.
        state: state in the life cycle.
        dirty: its dirty paths.
        resync_queue: directories and trees that have to be compared again.
        errors: reasons why it is not up to date.
        pending_paths: marks paths dirty within the limits.
        surplus: limits the removal of paths that are not in the sources.
        progress: progress of the last comparison of whole trees.
        is_front: a person has asked for it: it goes to the front of the bootstrap queue.
        pause: the pause of this frontend; None if it is not paused.
        held: the trees of which nothing is to be sent, because they or the frontend are paused.
        files_sent: number of paths that it has confirmed to hold.
        bytes_saved: bytes that deltas have saved.
        deletions_sent: number of paths that it has confirmed to have removed.
        refusals: number of changes that it has refused, by reason (`wire.changes.REASONS`).
        logins: number of connections.
        about: how its agent describes itself.
        full_comparisons: number of comparisons of whole trees that have succeeded.
        attempts: failed connections since the last comparison of whole trees that succeeded.
        failures: failed connections since it joined.
        restored: by tree, what the last restore from its base has done.
        restores_begun: by tree, number of restores that were begun before it was compared.
    """

    def __init__(self, candidate: Candidate, context: Context) -> None:
        host = candidate.address.host
        self.candidate = candidate
        self._context = context
        self.state = State.CONNECTING
        self.dirty = DirtySet()
        self.resync_queue = ResyncQueue()
        self.errors = ErrorStatus(host)
        self.pending_paths = PendingPaths(host, self.dirty, self.resync_queue, context.budget)
        self.surplus = SurplusCheck(context, self.resync_queue, self.errors, self.dirty)
        self.progress = Progress()
        self.is_front = False
        self.pause: Pause | None = None
        self.held: frozenset[int] = frozenset()
        self.files_sent = 0
        self.bytes_saved = 0
        self.deletions_sent = 0
        self.refusals: Counter[str] = Counter()
        self.logins = 0
        self.about = ""
        self.full_comparisons = 0
        self.attempts = 0
        self.failures = 0
        self.restored: dict[int, RestoreResult] = {}
        self.restores_begun: dict[int, int] = {}
        self._streak = Streak()
        self._state_changed = asyncio.Event()
        self._locations: dict[int, tuple[str, str]] = {}

    @property
    def address(self) -> Address:
        """The address to connect to."""
        return self.candidate.address

    @property
    def machine(self) -> str:
        """The machine's identity if discovery knows one, else its address."""
        return self.candidate.identity or str(self.address)

    @property
    def uncompared(self) -> list[int]:
        """The trees that have to be compared, whether that is possible now or not."""
        return [tree for tree in self._context.trees if not self.resync_queue.is_satisfied(tree)]

    @property
    def serves(self) -> bool:
        """True if it has been live since it joined, so that it may serve visitors."""
        return self.full_comparisons > 0

    @property
    def is_bootstrapped(self) -> bool:
        """True if it is live, and every tree has been compared since that was last requested."""
        return self.state is State.LIVE and not self.uncompared

    @property
    def converged(self) -> bool:
        """True if it is bootstrapped, no path is dirty, and no directory has to be compared again."""
        return self.is_bootstrapped and not (self.dirty or self.resync_queue)

    @property
    def is_counted(self) -> bool:
        """True if `dirty` holds everything that the frontend lacks, so that it can be counted: not while a directory must be compared again."""
        if self.state is State.LIVE and self.resync_queue:
            return False
        return self._context.trees.keys() <= self.pending_paths.counted

    @property
    def is_degraded(self) -> bool:
        """True if it is live, but refuses a path, cannot be sent one, or has paths or contents that it should not have."""
        return self.state is State.LIVE and (bool(self._persistent) or self.dirty.has_reasons())

    @property
    def last_error(self) -> str:
        """Why it is paused or not up to date, or may have paths or contents that it should not have; empty if none is so."""
        passing = "" if self.converged else self.errors.error or self.errors.slow
        return "; ".join(filter(None, (self.why_paused, passing or self._persistent)))

    @property
    def verified(self) -> Verified | None:
        """What its last verification found; None if there was none."""
        return self._context.verified.of(self.machine)

    @property
    def _persistent(self) -> str:
        """An error that remains although no path is dirty; empty if there is none."""
        verified = self.verified
        repairing = len(self.pending_paths.repairing)
        return self.errors.persistent or (verified.reason(repairing) if verified else "")

    @property
    def why_paused(self) -> str:
        """Why it is paused, or waits for a paused tree with which it must be compared; empty if neither is so."""
        if self.pause is not None:
            return f"{self.pause}: `replicator unpause {self.address}`"
        if not self.held:
            return ""
        return next((self.why_held(tree) for tree in self.uncompared if tree in self.held), "")

    def unknown_while_paused(self) -> set[int]:
        """Return the trees of which it stays unknown what the frontend lacks, because it is paused and so will not be compared."""
        return set(self.held - self.pending_paths.counted) if self.pause is not None else set()

    def why_held(self, tree: int) -> str:
        """Return why nothing of a tree is sent; empty if it is sent."""
        if tree not in self.held:
            return ""
        if self.pause is not None:
            return self.why_paused
        return self._context.trees[tree].why_paused

    @property
    def source_error(self) -> str:
        """Why the source of some tree may differ from what is published; empty if none does."""
        reasons = (tree.state.doubt for tree in self._context.trees.values())
        return next(filter(None, reasons), "")

    @property
    def explanation(self) -> str:
        """The reason why it is not up to date, with its host name."""
        reason = self.last_error or "it is not connected yet"
        return reason if self.address.host in reason else f"{self.address.host}: {reason}"

    def confirmed(self, key: Key) -> None:
        """Record that the frontend holds the current version of a path."""
        repairing = self.pending_paths.repairing
        if key in repairing:
            repairing.discard(key)
            self._context.verified.repaired(self.machine, printable(key.path))
            if not repairing:
                self._context.pool.submit(self._context.verified.save)
        self._context.confirmed(key)

    def move_to(self, state: State) -> None:
        """Move on in the life cycle, and log that."""
        # Of a host that cannot be reached, each attempt would be two lines more.
        in_vain = self.attempts > 1 and state in (State.CONNECTING, State.RETRYING)
        if state is not self.state and not in_vain:
            log.info("frontend", host=self.address.host, state=state.value)
        self.state = lifecycle.move(self.state, state)
        self._state_changed.set()

    async def changed(self, within: float) -> None:
        """Wait until `state` changes, at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                self._state_changed.clear()
                await self._state_changed.wait()

    async def first_outcome(self) -> None:
        """Wait until it is live, or the first attempt has failed."""
        while self.state is not State.LIVE and not self.attempts:
            await self.changed(1.0)

    def failed(self, reason: str) -> int:
        """Record the end of a connection, or of an attempt to connect; return how many failed in a row."""
        in_a_row = self._streak.failed(loop_time())
        self.attempts += 1
        self.failures += 1
        self.errors.failed(reason, self.attempts)
        self.move_to(State.RETRYING)
        return in_a_row

    def bootstrap_ended(self) -> None:
        """Record that all trees that were due have been compared, and what differed was sent or refused."""
        self.attempts = 0
        self.full_comparisons += 1
        if self.progress.ended is not None:
            self._context.bootstraps.add(self.progress.ended - self.progress.started)
        self.errors.compared()
        self._streak.succeeded(loop_time())
        self.move_to(State.LIVE)

    def tree_opened(self, tree: int, location: tuple[str, str]) -> None:
        """Record that the agent has opened a tree.

        Args:
            tree: number of the tree.
            location: boot id and target identity. If they changed or are unknown, the frontend may lack changes that it confirmed.
        """
        if not all(location) or self._locations.get(tree) != location:
            self.resync_queue.certain.discard(tree)
        self._locations[tree] = location
        self.errors.target_opened(tree)

    def remove_tree(self, tree: int) -> None:
        """Forget a tree that was removed."""
        self._locations.pop(tree, None)
        self.restored.pop(tree, None)
        self.restores_begun.pop(tree, None)
        self.pending_paths.forget(tree)
        self.surplus.forget(tree)
        self.resync_queue.forget(tree)
        self.errors.forget(tree)
