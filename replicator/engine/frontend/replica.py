"""The life of one frontend: connect, be compared, follow, and connect again.

Live changes are sent from the moment the connection stands, also while the frontend waits at the gate and while it is
filled. What it missed while it was away is in its dirty set and goes out at once; the comparison that follows under the
gate finds what else is different. A failure of any kind ends the connection, and nothing but the connection.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress

import structlog

from replicator.core import lifecycle
from replicator.core.dirty import DirtySet
from replicator.core.lifecycle import State
from replicator.core.pace import Streak
from replicator.core.pending import Key, PendingKind
from replicator.engine.bootstrap_queue import Place, Rank
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.context import Context
from replicator.engine.frontend.compare import OpenedTree
from replicator.engine.frontend.comparisons import Comparisons
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.dispatch import Dispatch
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.readiness import Readiness
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.frontend.session import Session
from replicator.engine.frontend.surplus import Allowance
from replicator.engine.frontend.turn import Work, turn
from replicator.engine.supervision import sentence
from replicator.model import printable
from replicator.ports import Address, Candidate, Decision
from replicator.wire.messages import Origin

log = structlog.get_logger()

RECENT = 5.0
"""Seconds in which a change is on its way rather than missing."""


class Replica:
    """One frontend.

    Args:
        candidate: where it is, and who says so.
        context: what all replicas share.
        front: a person asked for it: it goes to the front of the queue.

    Attributes:
        candidate: the newest.
        state: where it is in its life.
        link: the connection, while there is one.
        dirty: what it is owed.
        files_sent: paths that it has confirmed to hold.
        deletions_sent: paths that it has confirmed to have removed.
        logins: connections that were made.
        about: what its agent says of itself.
        reconciled: comparisons of everything that have succeeded.
        attempts: failures since the last of these.
        failures: all of them.
        asked_for: how many people wait for it to be filled.
    """

    def __init__(self, candidate: Candidate, context: Context, *, front: bool = False) -> None:
        self.candidate = candidate
        self.state = State.CONNECTING
        self.link: Connection | None = None
        self.dirty = DirtySet()
        self.files_sent = 0
        self.deletions_sent = 0
        self.logins = 0
        self.about = ""
        self.reconciled = 0
        self.attempts = 0
        self.failures = 0
        self.asked_for = 0
        self._context = context
        self._front = front
        self._comparing = False
        self._bytes_before = 0
        self._streak = Streak()
        self._readiness: Readiness | None = None
        self._turned = asyncio.Event()
        self._resync = ResyncQueue()
        self._troubles = ErrorStatus(candidate.address.host)
        self._dispatch = Dispatch(candidate.address.host, self.dirty, self._resync, context.budget)
        self._comparisons = Comparisons(
            context,
            self._dispatch,
            self._resync,
            self._troubles,
            self._incomplete,
            lambda: self.machine,
        )

    @property
    def address(self) -> Address:
        """Where it is dialled."""
        return self.candidate.address

    @property
    def machine(self) -> str:
        """A name that another machine at the same address would not have, if a provider tells one."""
        return self.candidate.identity or str(self.address)

    @property
    def bytes_sent(self) -> int:
        """Bytes written to it since the daemon started."""
        return self._bytes_before + (self.link.bytes_sent if self.link else 0)

    @property
    def bytes_saved(self) -> int:
        """Bytes that deltas have spared since the daemon started."""
        return self._dispatch.bytes_saved

    @property
    def progress(self) -> Progress:
        """How far its last comparison has got."""
        return self._comparisons.progress

    @property
    def queue_position(self) -> int | None:
        """Its place before the gate, 1 for the next; None when it does not wait there."""
        return self._context.bootstrap_queue.position(self)

    def is_another(self, candidate: Candidate) -> bool:
        """Return True if that is another machine than this, at the same address."""
        return bool(
            self.candidate.identity
            and candidate.identity
            and candidate.identity != self.candidate.identity
        )

    @property
    def converged(self) -> bool:
        """True if it is live, owed nothing, and nothing of it is in doubt."""
        return self.settled and not (self.dirty or self._resync)

    @property
    def settled(self) -> bool:
        """True if it is live, and has been compared with every tree since that was requested last."""
        return self.state is State.LIVE and not self.unsettled

    @property
    def unsettled(self) -> list[int]:
        """The trees that it has yet to be compared with."""
        return self._comparisons.unsettled()

    def refused(self, tree: int) -> str:
        """Return why its agent cannot use a tree's target; empty if it can."""
        return self._comparisons.refused_because(tree)

    @property
    def unopened(self) -> str:
        """Why some tree's target is not compared there; empty if the targets of all trees are."""
        return next(
            (
                self.refused(number)
                or f"the target of {printable(tree.target.root)} is not open yet"
                for number, tree in self._context.trees.items()
                if number not in self._comparisons.opened
            ),
            "",
        )

    @property
    def waits_for_source(self) -> bool:
        """True if it is connected, and no tree that it has yet to be compared with can be compared."""
        return self.state in (State.QUEUED, State.LIVE) and not self._comparisons.due()

    @property
    def known(self) -> bool:
        """True if it is known what this frontend lacks, so that `dirty` can be counted."""
        return self._context.trees.keys() <= self._dispatch.counted

    @property
    def owed(self) -> int:
        """See engine.budget.Debtor."""
        return len(self.dirty)

    @property
    def away(self) -> bool:
        """See engine.budget.Debtor."""
        return self._dispatch.away

    def forget_owed(self) -> None:
        """See engine.budget.Debtor."""
        self._dispatch.forget_owed("all frontends together")

    @property
    def degraded(self) -> bool:
        """True if it is live and refuses something, cannot be given something, or holds what it should not."""
        return self.state is State.LIVE and (self.dirty.troubled() or bool(self._troubles.lasting))

    @property
    def unlisted(self) -> list[str]:
        """Sentences about directories that this frontend could not list in its last comparison."""
        return self._troubles.not_listed

    @property
    def caught_up(self) -> bool:
        """True if it is live, and lacks only what changed in the last few seconds: where uploads never pause, it always does."""
        since = self.dirty.lagging()
        recent = since is None or _now() - since < RECENT
        unsure = self._resync or self.dirty.refusals()
        return self.settled and recent and not unsure

    @property
    def last_error(self) -> str:
        """Why it is not up to date, or may hold something else than it should; empty when all is well."""
        lasting = self._troubles.lasting
        return (
            lasting if self.converged else self._troubles.error or self._troubles.is_slow or lasting
        )

    @property
    def ready(self) -> bool | None:
        """Whether its ready files are there; None if there shall be none, or it is not connected."""
        return self._readiness.ready if self._readiness else None

    @property
    def excess(self) -> str:
        """Why what only this frontend has stays there; empty if nothing does."""
        return self._troubles.excess

    @property
    def exceeding(self) -> set[int]:
        """The trees of which this frontend has more than may go without a question."""
        return self._troubles.exceeding

    def allowance(self, opened: OpenedTree) -> Allowance | None:
        """Return what judges what only this frontend has of a tree; None if the tree's settings let everything go."""
        return self._comparisons.excess.allowance(opened)

    async def changed(self, within: float) -> None:
        """Wait until the state changes, but no longer than `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                self._turned.clear()
                await self._turned.wait()

    async def first_outcome(self) -> None:
        """Wait until it is live, or a first attempt has failed."""
        while self.state is not State.LIVE and not self.attempts:
            await self.changed(1.0)

    def opened_trees(self) -> list[tuple[int, OpenedTree]]:
        """Return what is compared on this frontend, tree by tree."""
        return self._comparisons.opened_trees()

    @property
    def complaint(self) -> str:
        """Why it is not up to date, as a sentence that names it."""
        reason = self.last_error or "it is not connected yet"
        return reason if self.address.host in reason else f"{self.address.host}: {reason}"

    @property
    def doubt(self) -> str:
        """Why the source of some tree is not known, or not followed, at present; empty if it is."""
        return next(
            (doubt for tree in self._context.trees.values() if (doubt := tree.state.doubt)), ""
        )

    def holds(self, key: Key) -> bool:
        """See engine.context.Peer."""
        return (
            self.link is not None and key.tree in self._dispatch.counted and key not in self.dirty
        )

    def offer(self, encoded: EncodedChanges) -> None:
        """Take a live change: send it, or owe it."""
        self._dispatch.offer(encoded)

    def repair(self, keys: list[Key]) -> None:
        """Send paths again, whatever is believed of them."""
        self._dispatch.owe(keys, PendingKind.CONTENT)

    def noting_changes(self) -> AbstractContextManager[set[Key]]:
        """Give a set to which every path is added that is owed now, or changes meanwhile."""
        return self._dispatch.noting_changes()

    def try_targets(self) -> None:
        """A person has said that the targets are right: open at once what was refused."""
        self._comparisons.hurry()
        self._resync.everything()

    def reconcile_soon(self, *, front: bool = False) -> None:
        """Compare everything again; `front`: before everybody else."""
        self._front = self._front or front
        if front:
            self._comparisons.hurry()
            self._context.bootstrap_queue.to_front(self)
        self._resync.everything()

    def trees_changed(self) -> None:
        """A tree was added, or can be compared now: look at once whether there is something to compare."""
        self._resync.tell()

    def sources_moved(self, origin: Origin) -> None:
        """The sources are elsewhere, perhaps: whatever is sent from now on, the agent knows it before."""
        self._comparisons.sources_moved(origin)

    def compare(self, tree: int) -> None:
        """Compare one tree again."""
        self._resync.everything_of(tree)

    def forget(self, tree: int) -> None:
        """A tree was removed: end all work on it. The frontend keeps its files."""
        self._dispatch.forget(tree)
        self._comparisons.forget(tree)
        if self._readiness is not None:
            self._readiness.forget(tree)

    def confirm(self, trees: Collection[int]) -> None:
        """A person says that what only this frontend has of some trees shall go."""
        self._comparisons.confirm(trees)

    async def run(self) -> None:
        """Keep the frontend up to date until cancelled."""
        try:
            while True:
                # In a task of its own, because a TaskGroup of Python 3.11 loses a cancellation that meets an error.
                reason = await asyncio.get_running_loop().create_task(self._attempt())
                ours = asyncio.current_task()
                if ours is not None and ours.cancelling():
                    raise asyncio.CancelledError
                in_a_row = self._streak.failed(_now())
                self._fail(reason)
                await self._resync.poked(self._context.retry.delay(in_a_row))
                self._turn(State.CONNECTING)
        finally:
            self.state = State.GONE

    def _fail(self, reason: str) -> None:
        self.attempts += 1
        self.failures += 1
        self._troubles.failed(reason, self.attempts)
        self._turn(State.RETRYING)

    async def _attempt(self) -> str:
        """Connect and work until something fails, whatever that is; return it as a sentence."""
        try:
            await self._connect()
        except Exception as error:  # it must not reach the other frontends
            reason, is_bug = sentence(error)
            if is_bug and self._troubles.is_new(reason):
                log.exception("internal error", host=self.address.host)
            return reason
        return "the connection ended"

    async def _connect(self) -> None:
        """Connect and work until something fails.

        Raises:
            Exception: that, perhaps in a group.
        """
        channel = await self._context.connector.connect(self.address, self.candidate.identity)
        self.logins += 1
        session = Session(channel, self._context, self._dispatch, self._comparisons, self)
        try:
            await session.run(self._greet, self._follow)
        finally:
            self._bytes_before += session.link.bytes_sent
            self.link = self._readiness = None
            self._dispatch.lost()
            await channel.close()

    async def _greet(self, link: Connection) -> Readiness:
        await link.greet(f"replicator on {platform.node()} for {self.address}")
        self.about = link.about
        await self._comparisons.open(link)
        machine = self.candidate.identity or self.address.host
        opened = self._comparisons.opened
        self._readiness = Readiness(link, self._context, self.dirty, opened, machine)
        return self._readiness

    async def _follow(self, link: Connection) -> None:
        """Wait at the gate and be compared, tree by tree as their sources are known, and from then on only when it is asked for."""
        self.link = link
        self._turn(State.QUEUED)
        while True:
            if not await self._comparisons.open_due(link):
                if self._comparisons.opened and not self.unsettled:
                    self._turn(State.LIVE)
                await self._comparisons.due_changed()
                continue
            self._turn(State.QUEUED)
            compared = []
            async with self._context.bootstrap_queue.place(self, self._rank()) as place:
                self._front = False
                self._turn(State.BOOTSTRAPPING)
                compared = await self._be_compared(link, place)
            self.attempts = 0
            self.reconciled += 1
            self._troubles.compared()
            self._streak.succeeded(_now())
            self._turn(State.LIVE)
            for tree in compared:
                self._dispatch.compared(tree)
                if self._readiness is not None:
                    self._readiness.filled(tree)

    async def _be_compared(self, link: Connection, place: Place) -> list[int]:
        """Be compared with all that is due, for as long as that should take at a time; return the trees that were compared."""

        def work() -> Work:
            progress = self._comparisons.progress
            return Work(link.lines_listed, progress.files_done, progress.bytes_done)

        self._comparing = True
        try:
            most = await self._comparisons.count_due()
            async with turn(place, work, most, self._moved):
                return await self._comparisons.everything(link, place.wait)
        finally:
            self._comparing = False

    def _moved(self, slow: str) -> None:
        """Its place at the gate was given to another, for a reason, or it holds one again."""
        if slow:
            self._troubles.slow(slow)
        self._turn(State.QUEUED if slow else State.BOOTSTRAPPING)

    def _rank(self) -> Rank:
        if self._front:
            return Rank.ASKED_FOR
        return Rank.LEAVING if self.candidate.decision is Decision.DRAIN else Rank.USUAL

    def _incomplete(self, tree: int) -> None:
        """A comparison has found that something of a tree is missing there."""
        if self._comparing and self._readiness is not None:
            self._readiness.incomplete(tree)

    def done(self, key: Key) -> None:
        """See engine.answers.Listener."""
        self.files_sent += 1
        self._clean(key, "sent")

    def removed(self, key: Key) -> None:
        """See engine.answers.Listener."""
        self.deletions_sent += 1
        self._clean(key, "removed")

    def _clean(self, key: Key, what: str) -> None:
        self._troubles.sent(key, what)
        self._troubles.over(key)
        self._comparisons.arrived(key)

    def delayed(self, key: Key, reason: str) -> None:
        """See engine.answers.Listener."""
        self._troubles.delayed(key, reason)
        self._comparisons.refused()

    def troubled(self, key: Key, reason: str) -> None:
        """See engine.answers.Listener."""
        self._troubles.refused(key, reason)
        self._comparisons.refused()

    def in_doubt(self, directory: Key) -> None:
        """See engine.answers.Listener."""
        self._resync.directory(directory)

    async def throttle(self, size: int) -> None:
        """See engine.courier.Listener: only what fills a frontend is held back."""
        if self.state is not State.LIVE:
            delay = self._context.bucket.delay(size, _now())
            if delay:
                await asyncio.sleep(delay)

    def _turn(self, state: State) -> None:
        # Of a host that cannot be reached, each attempt would be two lines more.
        in_vain = self.attempts > 1 and state in (State.CONNECTING, State.RETRYING)
        if state is not self.state and not in_vain:
            log.info("frontend", host=self.address.host, state=state.value)
        self.state = lifecycle.move(self.state, state)
        self._turned.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
