"""The paths that a call of `wait` concerns: whether everything at and below them is published, and confirmed by a frontend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from replicator.core.pending import Key
from replicator.engine.control.names import pipeline_of
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

MOST_AREAS = 100
"""Paths that one call may name: each costs the event loop time at each examination, up to milliseconds if 100,000 checks are pending."""

_NO_AREAS = "areas must be a list of pairs: a source directory and a path below it"


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
        pipeline = pipeline_of(self._root, service)
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
        return replica.unconfirmed(key, published_at, self._pipeline.rechecks.is_unreadable)

    @property
    def tree(self) -> int:
        """Number of the tree."""
        return self._pipeline.tree.number if self._pipeline else 0

    def unreadable(self) -> Blocker | None:
        """Return a path at, below or above this one that cannot be read, so that no frontend gets it; None if there is none."""
        paths = self._pipeline.rechecks.unreadable_paths(self.path) if self._pipeline else []
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


def requested(request: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the (source, relative path) pairs of a request.

    Raises:
        ControlError: if it has something else.
    """
    areas = request.get("areas", [])
    pairs = isinstance(areas, list) and all(isinstance(a, list) and len(a) == 2 for a in areas)
    if not pairs or not all(isinstance(text, str) for area in areas for text in area):
        raise ControlError(_NO_AREAS)
    try:
        return [(os.fsencode(source), os.fsencode(path)) for source, path in areas]
    except UnicodeEncodeError as error:  # a surrogate that stands for no byte
        raise ControlError(_NO_AREAS) from error


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


def areas_of(
    service: Service, requested: Collection[tuple[bytes, bytes]], since: float
) -> list[Area]:
    """Return the areas of a call; if it names no path, all trees.

    Args:
        service: the service.
        requested: (source, relative path) pairs.
        since: when the call was made.

    Raises:
        ControlError: if a path is not replicated, or more than MOST_AREAS are named.
    """
    for root, path in requested:
        _check(service, root, path)
    roots = [pipeline.tree.root for pipeline in service.pipelines.values()]
    every = outermost(requested) or [(root, ROOT) for root in roots]
    return [Area(root, path, _named_in(requested, root, path), since) for root, path in every]


def _check(service: Service, root: bytes, path: bytes) -> None:
    pipeline = pipeline_of(root, service)
    if pipeline is None:
        raise ControlError(f"{printable(root)}: the daemon does not replicate this directory")
    if path:
        check_path(path)
    excluded = pipeline.tree.source.excluded
    if path and all(excluded(path, kind) for kind in (FILE, DIRECTORY)):
        raise ControlError(f"{printable(path)} is excluded, so it is not replicated")
    if is_temporary(path):
        raise ControlError(f"{printable(path)} has a name that is not replicated")


def _named_in(areas: Iterable[tuple[bytes, bytes]], root: bytes, path: bytes) -> set[bytes]:
    return {named for source, named in areas if source == root and named and is_within(named, path)}
