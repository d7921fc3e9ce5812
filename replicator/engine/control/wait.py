"""`wait`: ends when everything that was changed before the call is confirmed by every frontend that serves visitors.

1. The watcher has read what the kernel had queued at the time of the call.
2. Everything that these events have named, and each file whose changes cause no event, is checked and published (`engine.ingest.barriers`).
3. Every provider of the configuration has given one complete answer, so that the frontends are known, and there is at least one.
4. No frontend has a path dirty that was dirty at that time.

`wait` waits for a frontend that has been live or has its ready file. Unless a launch hook holds it, `wait` also waits for one that an
earlier run of the daemon knew, and for one that has never connected. Any other frontend (it is filled for the first time) is waited for
only if the caller names it, or if there is none of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable
from typing import Any, NamedTuple

from replicator.core.pending import Key
from replicator.engine.context import Context
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.barriers import Barrier
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.loop import loop_time
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.model import (
    DIRECTORY,
    FILE,
    ROOT,
    check_path,
    is_temporary,
    is_within,
    key,
    printable,
)
from replicator.ports import Address

PAUSES = (0.002, 0.05)
"""Shortest and longest seconds between two examinations of what is waited for."""

GROWTH = 1.2
"""Factor by which the pause grows."""

COST = 20
"""Pause in multiples of what one examination takes: 10 ms if 100,000 paths are dirty that the call does not concern."""

LONGEST = 3.0
"""Longest pause in seconds: the command takes a daemon that is silent for 10 s for hung."""

HEARTBEAT = 1.0
"""Seconds between two lines of the answer, from which the caller sees that the daemon is alive."""

MOST_AREAS = 100
"""Paths that one call may name: each costs the event loop time at each examination, up to milliseconds if 100,000 checks are pending."""

TICK = 0.002
"""Resolution of the loop's clock, with a margin: uvloop counts milliseconds."""


class Blocker(NamedTuple):
    """What `wait` waits for.

    Attributes:
        who: the frontend's host, the tree's source, or what must name the frontends.
        why: a clause.
        is_final: True if waiting does not help.
    """

    who: str
    why: str
    is_final: bool = False


class Area:
    """A path of a tree, and the barrier in the tree's pipeline. A reload may replace the pipeline: then the barrier is made again.

    Args:
        root: the source directory.
        path: relative to it.
        named: the paths at and below it that the caller has named.
        since: when the call was made.
    """

    def __init__(self, root: bytes, path: bytes, named: Collection[bytes], since: float) -> None:
        self._root = root
        self.path = path
        self._named = named
        self._since = since
        self._pipeline: Pipeline | None = None
        self._barrier: Barrier | None = None
        self._left_out: asyncio.Future[str] | None = None

    def blocker(self, service: Service) -> Blocker | None:
        """Return why not everything is published; None if it is."""
        source = printable(self._root)
        pipelines = service.pipelines.values()
        pipeline = next((one for one in pipelines if one.tree.root == self._root), None)
        if pipeline is not self._pipeline:
            self.close()
            self._pipeline = pipeline
        if pipeline is None:
            return Blocker(source, "it is not replicated any more", is_final=True)
        if problems := pipeline.problems():
            return Blocker(source, " ".join(problems), is_final=True)
        if not pipeline.scanned.is_set():
            return Blocker(source, "it is still being scanned")
        if self._barrier is None:
            if not pipeline.is_drained(self._since):
                return Blocker(source, "events of the kernel are waiting")
            pipeline.check_unheard(self.path)
            self._barrier = pipeline.barriers.add(self.path, loop_time())
            self._left_out = pipeline.why_left_out(self._named) if self._named else None
        if self._barrier.passed_at is None:
            pipeline.barriers.update_soon()
            return Blocker(source, self._barrier.waits_for or "changes are being checked")
        return self._blocker_of_named(source)

    def _blocker_of_named(self, source: str) -> Blocker | None:
        if self._left_out is None:
            return None
        if not self._left_out.done():
            return Blocker(source, "the named paths are being examined")
        why = self._left_out.result()
        return Blocker(source, why, is_final=True) if why else None

    def unconfirmed(self, replica: Replica) -> str:
        """Return what a frontend has not confirmed of what was published; empty if nothing, or if not everything is published yet."""
        published_at = self._barrier.passed_at if self._barrier else None
        if published_at is None or self._pipeline is None:
            return ""
        key = Key(self._pipeline.tree.number, self.path)
        return replica.unconfirmed(key, published_at, self._pipeline.is_unreadable)

    @property
    def tree(self) -> int:
        """Number of the tree."""
        return self._pipeline.tree.number if self._pipeline else 0

    def unreadable(self) -> Blocker | None:
        """Return a path at, below or above this one that cannot be read, so that no frontend gets it; None if there is none."""
        paths = self._pipeline.unreadable(self.path) if self._pipeline else []
        if not paths:
            return None
        return Blocker(
            printable(self._root), f"{printable(paths[0])} cannot be read", is_final=True
        )

    def close(self) -> None:
        """Remove the barrier."""
        if self._barrier is not None and self._pipeline is not None:
            self._pipeline.barriers.remove(self._barrier)
        if self._left_out is not None:
            self._left_out.cancel()
        self._barrier = self._left_out = None


def outermost(areas: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the (source, relative path) pairs that do not lie in others.

    Raises:
        ControlError: if more than MOST_AREAS are left.
    """
    kept: list[tuple[bytes, bytes]] = []
    for root, path in sorted(areas, key=lambda area: (area[0], key(area[1]))):
        if not kept or kept[-1][0] != root or not is_within(path, kept[-1][1]):
            kept.append((root, path))
    if len(kept) > MOST_AREAS:
        raise ControlError(f"more than {MOST_AREAS} paths: name a directory that they are in")
    return kept


def _within(areas: Iterable[tuple[bytes, bytes]], root: bytes, path: bytes) -> set[bytes]:
    return {named for source, named in areas if source == root and named and is_within(named, path)}


class Wait:
    """One call of `wait`.

    Args:
        service: the service.
        context: what all replicas share.
        areas: (source, relative path) of what must be confirmed; empty: everything in all trees.
        frontend: the only frontend that must confirm it; None: all that serve visitors.

    Raises:
        ControlError: if a path is not replicated, more than MOST_AREAS are named, or there is no such frontend.
    """

    def __init__(
        self,
        service: Service,
        context: Context,
        areas: Collection[tuple[bytes, bytes]],
        frontend: Address | None,
    ) -> None:
        self._service = service
        self._context = context
        self._frontend = frontend
        self._began = loop_time()
        since = self._began + TICK
        for root, path in areas:
            self._check(root, path)
        roots = [pipeline.tree.root for pipeline in service.pipelines.values()]
        every = outermost(areas) or [(root, ROOT) for root in roots]
        self._areas = [Area(root, path, _within(areas, root, path), since) for root, path in every]
        self._waited_for: dict[str, str] = {}
        if frontend is not None and service.fleet.find(frontend) is None:
            raise ControlError(f"{frontend.host}: not one of the frontends")

    def _check(self, root: bytes, path: bytes) -> None:
        trees = (pipeline.tree for pipeline in self._service.pipelines.values())
        tree = next((tree for tree in trees if tree.root == root), None)
        if tree is None:
            raise ControlError(f"{printable(root)}: the daemon does not replicate this directory")
        if path:
            check_path(path)
        if path and all(tree.source.excluded(path, kind) for kind in (FILE, DIRECTORY)):
            raise ControlError(f"{printable(path)} is excluded, so it is not replicated")
        if is_temporary(path):
            raise ControlError(f"{printable(path)} has a name that is not replicated")

    async def run(self, seconds: float) -> AsyncGenerator[dict[str, Any], None]:
        """Wait, for at most `seconds`; yield the present state from time to time, and the outcome at last."""
        loop = asyncio.get_running_loop()
        pause, last_row = PAUSES[0], self._began
        try:
            while True:
                began = loop.time()
                blockers = self._blockers()
                now = loop.time()
                is_final = any(one.is_final for one in blockers)
                if not blockers or is_final or now >= self._began + seconds:
                    yield self._outcome(blockers)
                    return
                if now - last_row >= HEARTBEAT:
                    last_row = now
                    yield self._row(blockers)
                pause = min(GROWTH * pause, PAUSES[1])
                await asyncio.sleep(max(pause, min(COST * (now - began), LONGEST)))
        finally:
            for area in self._areas:
                area.close()

    def _blockers(self) -> list[Blocker]:
        """Return what is not confirmed. Problems of a source that waiting does not solve come alone, and those of single files last."""
        sources = [one for area in self._areas if (one := area.blocker(self._service)) is not None]
        final = [one for one in sources if one.is_final]
        if final:
            return final
        frontends = self._look_at_frontends()
        if sources or frontends:
            return sources + frontends
        return [one for area in self._areas if (one := area.unreadable()) is not None]

    def _look_at_frontends(self) -> list[Blocker]:
        blockers: list[Blocker] = []
        replicas = self._replicas()
        present = {replica.machine: replica for replica in replicas}
        for machine, replica in present.items():
            self._waited_for[machine] = replica.address.host
        if self._frontend is None:
            blockers += self._look_at_discovery()
        elif not present:
            blockers.append(Blocker(self._frontend.host, "it left the fleet", is_final=True))
        for replica in replicas:
            if (blocker := self._unconfirmed(replica)) is not None:
                blockers.append(blocker)
        return blockers

    def _look_at_discovery(self) -> list[Blocker]:
        """Return why frontends may be unknown, or why nobody could confirm anything."""
        blockers = [
            Blocker(f"discovery {provider}", why)
            for provider, why in self._service.unknown_members()
        ]
        if not blockers and not len(self._service.fleet):
            blockers.append(Blocker("fleet", "no frontend is known"))
        return blockers

    def _unconfirmed(self, replica: Replica) -> Blocker | None:
        """Return what a frontend has not confirmed; None if nothing. One that is paused will not confirm it."""
        for area in self._areas:
            if reason := area.unconfirmed(replica):
                held = replica.why_held(area.tree)
                return Blocker(replica.address.host, held or reason, is_final=bool(held))
        return None

    def _replicas(self) -> list[Replica]:
        """Return the frontends that must confirm the changes."""
        if self._frontend is not None:
            found = self._service.fleet.find(self._frontend)
            return [found] if found is not None else []
        every = list(self._service.fleet)
        return [one for one in every if self._may_serve(one)] or every

    def _may_serve(self, replica: Replica) -> bool:
        if replica.serves or replica.ready:
            return True
        if replica.candidate.launch is not None:
            return False
        return not replica.logins or self._context.targets.was_known(replica.machine)

    def _row(self, blockers: list[Blocker]) -> dict[str, Any]:
        return {"waits_for": [{"who": one.who, "why": one.why} for one in blockers]}

    def _outcome(self, blockers: list[Blocker]) -> dict[str, Any]:
        """Return the last line of the answer."""
        replicas = self._replicas()
        fleet = {replica.machine for replica in self._service.fleet}
        seconds = loop_time() - self._began
        filled = [one for one in self._service.fleet if one not in replicas]
        return {
            "finished": True,
            "ok": not blockers,
            "seconds": round(seconds, 3),
            "frontends": [replica.address.host for replica in replicas],
            "left": [host for machine, host in self._waited_for.items() if machine not in fleet],
            "not_serving": [] if self._frontend else [replica.address.host for replica in filled],
            **self._row(blockers),
        }
