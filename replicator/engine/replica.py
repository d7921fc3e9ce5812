"""The life of one frontend: connect, be compared, follow, and connect again.

Live changes are sent from the moment the connection stands, also while the frontend waits at the gate and while it is
filled. What it missed while it was away is in its dirty set and goes out at once; the comparison that follows under the
gate finds what else is different. A failure of any kind ends the connection, and nothing but the connection.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import structlog

from replicator.core import lifecycle
from replicator.core.dirty import DirtySet, Key, Owed
from replicator.core.lifecycle import State
from replicator.core.plan import Difference
from replicator.engine.commons import Commons, Plot
from replicator.engine.courier import Courier
from replicator.engine.gate import Rank
from replicator.engine.link import Link
from replicator.engine.parcel import Parcel, Part
from replicator.engine.progress import Progress
from replicator.engine.readiness import Readiness
from replicator.engine.reconcile import Territory, reconcile
from replicator.errors import AgentFailed, ReplicatorError
from replicator.model import ROOT, printable
from replicator.ports import Address, Decision, Sighting

log = structlog.get_logger()

HIGH_WATER = 4096
"""Dirty bulk paths at which a comparison pauses: a second's work, and little memory."""


DOUBTS = 1000
"""Directories in doubt at which everything is compared instead: each costs a round trip."""


RECENT = 5.0
"""Seconds in which a change is on its way rather than missing."""


STEADY = 30.0
"""Seconds of being live after which a failure is a first one. Who fails as soon as it is live is tried ever more rarely."""


TOLD = 1000
"""Paths whose trouble is logged; a full disk refuses every path for the same reason."""


class Replica:
    """One frontend.

    Args:
        sighting: where it is, and who says so.
        commons: what all replicas share.
        front: a person asked for it: it goes to the front of the queue.
    """

    def __init__(self, sighting: Sighting, commons: Commons, *, front: bool = False) -> None:
        self.sighting = sighting
        self.state = State.CONNECTING
        self.dirty = DirtySet()
        self.progress = Progress()
        self._error = ""
        self._failure = ""
        self.files_sent = 0
        self.bytes_saved = 0
        self.logins = 0
        self.about = ""
        self.reconciled = 0
        self._commons = commons
        self._front = front
        self._bytes_before = 0
        self.attempts = 0
        self.failures = 0
        self._in_a_row = 0
        self._live_at: float | None = None
        self._link: Link | None = None
        self._courier: Courier | None = None
        self._known = False
        self._wanted = asyncio.Event()
        self._comparing = 0
        self._doubts: dict[Key, None] = {}
        self._doubted = asyncio.Event()
        self._opened: dict[int, Territory] = {}
        self._progressed = asyncio.Event()
        self._turned = asyncio.Event()
        self._told: dict[Key, str] = {}
        self._excess: dict[int, str] = {}
        self._confirmed: set[int] = set()
        self._poked = asyncio.Event()
        self._readiness: Readiness | None = None
        self._noted: list[set[Key]] = []

    @property
    def address(self) -> Address:
        """Where it is dialled."""
        return self.sighting.address

    @property
    def bytes_sent(self) -> int:
        """Bytes written to it since the daemon started."""
        return self._bytes_before + (self._link.bytes_sent if self._link else 0)

    @property
    def queue_position(self) -> int | None:
        """Its place before the gate, 1 for the next; None when it does not wait there."""
        return self._commons.gate.position(self)

    def is_another(self, sighting: Sighting) -> bool:
        """Return True if that is another machine than this, at the same address."""
        return bool(
            self.sighting.identity
            and sighting.identity
            and sighting.identity != self.sighting.identity
        )

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        return self._link

    @property
    def converged(self) -> bool:
        """True if it is live, owed nothing, and nothing of it is in doubt."""
        return self.state is State.LIVE and not (self.dirty or self._doubts or self._comparing)

    @property
    def caught_up(self) -> bool:
        """True if it is live, and lacks only what changed in the last few seconds: where uploads never pause, it always does."""
        since = self.dirty.lagging()
        recent = since is None or _now() - since < RECENT
        unsure = self._doubts or self._comparing or self.dirty.refusals()
        return self.state is State.LIVE and recent and not unsure

    @property
    def last_error(self) -> str:
        """Why it is not up to date, or holds more than it should; empty when all is well."""
        return self.excess if self.converged else self._error or self.excess

    @property
    def ready(self) -> bool | None:
        """Whether its ready files are there; None if there shall be none, or it is not connected."""
        return self._readiness.ready if self._readiness else None

    @property
    def excess(self) -> str:
        """Why what only this frontend has stays there; empty if nothing does."""
        return next(iter(self._excess.values()), "")

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

    def territories(self) -> list[tuple[int, Territory]]:
        """Return what is compared on this frontend, tree by tree."""
        return list(self._opened.items())

    @property
    def complaint(self) -> str:
        """Why it is not up to date, as a sentence that names it."""
        reason = self.last_error or "it is not connected yet"
        return reason if self.address.host in reason else f"{self.address.host}: {reason}"

    def offer(self, parcel: Parcel) -> None:
        """Take a live change: send it, or owe it."""
        for noted in self._noted:
            noted.update(part.key for part in parcel.parts)
        if self._courier is not None:
            if parcel.parts and parcel.parts[0].target:
                self._courier.post_move(parcel)
                self._moved(parcel.parts[0])
            elif self._courier.post(parcel, builds=self._known):
                self.bytes_saved += parcel.saved
        else:
            self._owe(parcel)
        if self.dirty.overflowed:
            self._overflowed()

    def _moved(self, part: Part) -> None:
        """What was renamed before it was compared, perhaps to where a comparison has been already, is compared where it is now."""
        if not self._known or self._comparing or self._doubts:
            self.in_doubt(Key(part.key.tree, part.target))

    @contextmanager
    def noting_changes(self) -> Iterator[set[Key]]:
        """Yield a set to which every path is added that is owed now, or changes meanwhile."""
        noted = set(self.dirty)
        self._noted.append(noted)
        try:
            yield noted
        finally:
            self._noted.remove(noted)

    def reconcile_soon(self, *, front: bool = False) -> None:
        """Compare everything again; `front`: before everybody else."""
        self._front = self._front or front
        if front:
            self._commons.gate.to_front(self)
        self._wanted.set()
        self._poked.set()

    def confirm(self) -> None:
        """A person says that what only this frontend has shall go."""
        self._confirmed = set(self._commons.plots)
        self.reconcile_soon()

    def repair(self, keys: list[Key]) -> None:
        """Send paths again, whatever is believed of them."""
        now = asyncio.get_running_loop().time()
        for key in keys:
            self.dirty.mark(key, Owed.CONTENT, now, urgent=True)
        self._wake()

    def _wake(self) -> None:
        if self._courier is not None:
            self._courier.wake()
        if self.dirty.overflowed:
            self._overflowed()

    async def run(self) -> None:
        """Keep the frontend up to date until cancelled."""
        try:
            while True:
                # In a task of its own, because a TaskGroup of Python 3.11 loses a cancellation that meets an error.
                reason = await asyncio.get_running_loop().create_task(self._session())
                ours = asyncio.current_task()
                if ours is not None and ours.cancelling():
                    raise asyncio.CancelledError
                self._fail(reason)
                delay = self._commons.retry.delay(self._in_a_row)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        self._poked.clear()
                        await self._poked.wait()
                self._turn(State.CONNECTING)
        finally:
            self.state = State.GONE

    def _fail(self, reason: str) -> None:
        self.attempts += 1
        self.failures += 1
        steady = self._live_at is not None and _now() - self._live_at >= STEADY
        self._in_a_row = 1 if steady else self._in_a_row + 1
        self._live_at = None
        if reason != self._failure:
            log.warning(
                "frontend failed", host=self.address.host, reason=reason, attempt=self.attempts
            )
        self._error = self._failure = reason
        self._turn(State.RETRYING)

    async def _session(self) -> str:
        """Connect and work until something fails; return what."""
        try:
            channel = await self._commons.connector.connect(self.address, self.sighting.identity)
        except ReplicatorError as error:
            return str(error)
        self.logins += 1
        commons = self._commons
        courier = Courier(self.dirty, commons.supply, commons.pool, commons.retry, self)
        link = Link(channel, courier.answered, courier.wake)
        reason = "the connection ended"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(link.receive())
                tasks.create_task(link.watch_silence(commons.op_timeout))
                async with asyncio.timeout(commons.connect_timeout):
                    await self._greet(link)
                self._readiness = readiness = Readiness(
                    link, commons, self.dirty, self.sighting.identity or self.address.host
                )
                await readiness.begin(_now())
                self._link, self._courier = link, courier
                tasks.create_task(readiness.keep())
                tasks.create_task(courier.run(link))
                tasks.create_task(self._settle_doubts(link))
                tasks.create_task(self._follow(link))
        except* ReplicatorError as group:
            reason = str(_first(group))
        except* TimeoutError:
            reason = "the agent did not answer in time"
        except* Exception as group:
            # A bug of ours: it must not reach the other frontends, nor stay unseen.
            log.exception("internal error", host=self.address.host, exc_info=group)
            reason = f"internal error: {_first(group)!r}"
        finally:
            self._bytes_before += link.bytes_sent
            self._link = self._courier = self._readiness = None
            self._known = False
            self.dirty.lost()
            await channel.close()
        return reason

    async def _greet(self, link: Link) -> None:
        await link.greet(f"replicator on {platform.node()} for {self.address}")
        self.about = link.about
        self._opened.clear()
        for plot in list(self._commons.plots.values()):
            await self._open(link, plot)

    async def _open(self, link: Link, plot: Plot) -> None:
        opened = await link.open_tree(plot.open)
        self._opened[plot.open.tree] = replace(plot.territory, owner=(opened.uid, opened.gid))

    async def _follow(self, link: Link) -> None:
        """Wait at the gate, be compared, and from then on only when it is asked for."""
        while True:
            self._turn(State.QUEUED)
            for plot in list(self._commons.plots.values()):
                await plot.intake.surveyed.wait()
            async with self._commons.gate.place(self, self._rank()):
                self._front = False
                self._wanted.clear()
                self._turn(State.BOOTSTRAPPING)
                if self._commons.compare:
                    await self._reconcile_all(link)
            self.attempts = 0
            self._failure = ""
            self.reconciled += 1
            self._known = True
            if self._live_at is None:
                self._live_at = _now()
            self._error = next(iter(self._told.values()), "")
            self._turn(State.LIVE)
            if self._readiness is not None:
                self._readiness.filled()
            await self._wanted.wait()

    def _rank(self) -> Rank:
        if self._front:
            return Rank.ASKED_FOR
        return Rank.LEAVING if self.sighting.decision is Decision.DRAIN else Rank.USUAL

    async def _reconcile_all(self, link: Link) -> None:
        self.progress = Progress(started=_now())
        troubles: list[str] = []
        for tree, plot in list(self._commons.plots.items()):
            if tree not in self._opened:
                await self._open(link, plot)
            troubles += await self._reconcile(link, tree, ROOT)
        while self.dirty.bulk_open:
            await self._wait_for_progress()
        self.progress.ended = _now()
        for trouble in troubles:
            self._error = trouble
            log.warning("cannot be listed", host=self.address.host, reason=trouble)

    async def _reconcile(self, link: Link, tree: int, below: bytes) -> list[str]:
        """Compare a directory, make dirty what differs, and return what could not be listed."""
        territory = self._opened[tree]
        confirmed = tree in self._confirmed
        if confirmed:
            territory = replace(territory, delete_guard=1.0)
        self._comparing += 1
        try:
            outcome = await reconcile(
                link, territory, below, self._commons.pool, partial(self._found, tree)
            )
        finally:
            self._comparing -= 1
        if outcome.excess:
            log.error("deletions paused", host=self.address.host, reason=outcome.excess)
            self._excess[tree] = outcome.excess
        elif below == ROOT:
            self._excess.pop(tree, None)
        if confirmed and below == ROOT:  # what is confirmed meanwhile is meant for the next one
            self._confirmed.discard(tree)
        return outcome.problems

    async def _found(self, tree: int, differences: list[Difference]) -> None:
        """Make dirty what a comparison found; wait while that is much."""
        now = _now()
        if self.state is State.BOOTSTRAPPING and any(d.owed > Owed.ATTRIBUTES for d in differences):
            self._unready()
        for path, owed, size, _ in differences:
            key = Key(tree, path)
            if key not in self.dirty:
                self.dirty.mark(key, owed, now, urgent=False)
                self.progress.expect(key, size)
            if (
                self.dirty.overflowed
            ):  # what was marked is forgotten: only another comparison finds it
                self.dirty.overflowed = False
                raise AgentFailed(
                    "it refuses so many paths that they cannot be kept in mind; the last reason:"
                    f" {self._error or 'none was told'}"
                )
        if self._courier is not None:
            self._courier.wake()
        while self.dirty.bulk_open > HIGH_WATER:
            await self._wait_for_progress()

    def _unready(self) -> None:
        if self._readiness is not None:
            self._readiness.incomplete()

    async def _wait_for_progress(self) -> None:
        self._progressed.clear()
        await self._progressed.wait()

    async def _settle_doubts(self, link: Link) -> None:
        """Compare single directories that answers have put in doubt; outside the gate, because it is little."""
        while True:
            self._doubted.clear()
            while self._doubts:
                tree, below = next(iter(self._doubts))
                del self._doubts[Key(tree, below)]
                if tree in self._opened:
                    await self._reconcile_doubt(link, tree, below)
            await self._doubted.wait()

    async def _reconcile_doubt(self, link: Link, tree: int, below: bytes) -> None:
        if below and Key(tree, below) not in self.dirty:
            self.dirty.mark(Key(tree, below), Owed.ADOPT, _now(), urgent=True)
            self._wake()
        await self._reconcile(link, tree, below)

    def done(self, key: Key) -> None:
        """See engine.courier.Listener."""
        self.files_sent += 1
        if self._told.pop(key, None) and not self._told:
            self._error = ""
        self.progress.arrived(key)
        self._progressed.set()

    def troubled(self, key: Key, reason: str) -> None:
        """See engine.courier.Listener; the same trouble with the same path is logged once until it is over."""
        self._error = text = f"{printable(key.path)}: {reason}"
        if self._told.get(key) != text and len(self._told) < TOLD:
            self._told[key] = text
            log.warning(
                "not replicated", host=self.address.host, path=printable(key.path), reason=reason
            )
        self._progressed.set()

    def in_doubt(self, directory: Key) -> None:
        """See engine.courier.Listener."""
        self._doubts[directory] = None
        self._doubted.set()
        if len(self._doubts) > DOUBTS:
            self._doubts.clear()
            self.reconcile_soon()

    async def throttle(self, size: int) -> None:
        """See engine.courier.Listener: only what fills a frontend is held back."""
        if self.state is not State.LIVE:
            delay = self._commons.bucket.delay(size, _now())
            if delay:
                await asyncio.sleep(delay)

    def _owe(self, parcel: Parcel) -> None:
        """Remember a change for the next connection."""
        now = _now()
        for part in parcel.parts:
            if part.target:
                self.dirty.rename(part.key.tree, part.key.path, part.target, now)
                self.in_doubt(Key(part.key.tree, part.target))
            self.dirty.mark(part.key, Owed.CONTENT, now, urgent=True)

    def _overflowed(self) -> None:
        log.warning("too much is dirty; comparing everything instead", host=self.address.host)
        self.dirty.overflowed = False
        self.reconcile_soon()

    def _turn(self, state: State) -> None:
        # Of a host that cannot be reached, each attempt would be two lines more.
        in_vain = self.attempts > 1 and state in (State.CONNECTING, State.RETRYING)
        if state is not self.state and not in_vain:
            log.info("frontend", host=self.address.host, state=state.value)
        self.state = lifecycle.move(self.state, state)
        self._turned.set()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception in a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _now() -> float:
    return asyncio.get_running_loop().time()
