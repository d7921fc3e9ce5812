"""One replicated tree, and the state of its source, which is all that frontends know of the source."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from replicator.core.debouncer import Debouncer
from replicator.engine.paused import Pause
from replicator.model import DIRECTORY, is_below, printable
from replicator.ports import Catalog, Source, Watcher
from replicator.wire.messages import OpenTree


@dataclass(frozen=True)
class ReadyFile:
    """The ready file of a tree: its path below the root, and the seconds of lag that remove it."""

    path: bytes
    max_lag: float


class SourceState(Protocol):
    """State of one source. `engine.ingest` keeps it; `engine.frontend` reads it.

    Attributes:
        scanned: set when the first scan has read the whole source.
        halted: the reason why the source is in doubt; empty if it is not.
    """

    scanned: asyncio.Event
    halted: str

    @property
    def doubt(self) -> str:
        """The reason why the source may differ from what is published; empty if it does not."""

    @property
    def deletions_allowed(self) -> bool:
        """True if paths that are missing in the source are to be deleted on frontends."""

    def is_deletion_held(self, path: bytes) -> bool:
        """Return True if the deletion of a path is held back until it is known not to be part of a mass deletion."""

    def recheck(self, path: bytes) -> None:
        """Schedule a check of a file that is not what its record says; callable from any thread."""

    async def published(self) -> None:
        """Return when all that was recorded before the call is published, or the source is in doubt."""

    async def rescan(self) -> None:
        """Find and publish what has changed without an event; return when the tree has been scanned, or its source is in doubt."""


@dataclass(eq=False)
class Tree:
    """One replicated tree.

    Attributes:
        number: its number on the wire.
        root: the source directory.
        source: reads the files of the source.
        catalog: the recorded state of the source.
        make_watcher: creates a watcher; called again after the root was replaced.
        debouncer: decides when a path is checked.
        target: the message that opens the tree on a frontend.
        delete: True to delete paths on frontends that are missing in the source.
        delete_guard: share of the tree above which deletions that count together must be confirmed.
        symlinks: policy for symlinks, see `model.admits`.
        max_file_size: bytes above which a file is not read; frontends keep the version that they have.
        compress: True to compress contents where that makes them smaller.
        ready: the ready file, if one is configured.
        pause: the pause of the tree; None if an operator has not paused it.
        reserved: paths that are excluded with everything below them, because only the frontends have them.
        state: state of the source; set by the pipeline that reads it.
    """

    number: int
    root: bytes
    source: Source
    catalog: Catalog
    make_watcher: Callable[[], Watcher]
    debouncer: Debouncer
    target: OpenTree
    delete: bool
    delete_guard: float = 1.0
    symlinks: str = "all"
    max_file_size: int = sys.maxsize
    compress: bool = False
    ready: ReadyFile | None = None
    pause: Pause | None = None
    reserved: tuple[bytes, ...] = ()
    state: SourceState = field(init=False, repr=False)

    @property
    def comparable(self) -> bool:
        """True if frontends may be compared with the tree: the source was scanned, and is not in doubt."""
        return self.state.scanned.is_set() and not self.state.halted

    @property
    def deletes(self) -> bool:
        """True if paths that are missing in the source are removed from frontends at present."""
        return self.state.deletions_allowed

    @property
    def why_paused(self) -> str:
        """The pause of the tree, as a clause; empty if it is not paused."""
        name = printable(self.root)
        return (
            f"{name} is {self.pause}: `replicator unpause {shlex.quote(name)}`"
            if self.pause
            else ""
        )

    @property
    def mode_bits(self) -> int:
        """The mode bits that are replicated."""
        return 0o7777 if self.target.setid else 0o1777

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True for paths that the operator excludes, and for the directories that hold the ready file or the stamp file."""
        if self.source.excluded(path, kind):
            return True
        ours = [self.ready.path] if self.ready else []
        ours += [self.target.stamp] if self.target.stamp else []
        return kind == DIRECTORY and any(is_below(one, path) for one in ours)
