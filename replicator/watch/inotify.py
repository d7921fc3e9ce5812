"""Watch a tree with inotify.

`hints` translates and returns one batch of events; no task runs between its calls. The kernel's queue is bounded
(fs.inotify.max_queued_events), so it is emptied at each call, and by a thread while no call is made (`watch.queue`). What is not
translated yet waits in the order in which it is due (`watch.event_backlog`). When the kernel reports an overflow, all watches are
checked and the tree is scanned. Few watches are added on the event loop, many in a thread.

inotify does not report three things: the removal of a root that is held open (measured on Linux 6.18: rmdir sends no event while a
descriptor is open), so the root's identity is checked every ROOT_CHECK seconds; changes in directories that could not be watched, so
these are scanned every `rescan` seconds; and mounts (see `watch.mounts`).

The root's path, and file systems that may hang, are accessed in daemon threads, which do not delay the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import stat
import threading
import time
from collections.abc import Callable, Generator

from replicator.errors import SourceError
from replicator.files.confined import Confined
from replicator.model import DIRECTORY, ROOT, Hint, Hinted, printable
from replicator.mounttable import MountEvents
from replicator.watch.arm import Armer
from replicator.watch.mounts import TreeMounts
from replicator.watch.problems import describe, watch_limit
from replicator.watch.queue import EventQueue
from replicator.watch.roots import NamedRoot, Root
from replicator.watch.threads import in_daemon_thread
from replicator.watch.translate import Translator
from replicator.watch.watchmap import WatchMap

INLINE = 0.004
"""Seconds for which watches are added on the event loop (20 us per directory) before a thread continues."""

HOLD = 0.02
"""Seconds for which MOVED_FROM waits for its MOVED_TO; the kernel queues both within microseconds."""

ROOT_CHECK = 2.0
"""Seconds between two checks that the path still names the watched root; each is one stat."""


PROBE_SOON = 0.1
"""Seconds from a mount to the first check of whether its file system answers."""


class InotifyWatcher:
    """Implements ports.Watcher.

    Args:
        root: path of the directory.
        prune: called with (path, kind); returns True for excluded paths, which are neither watched nor reported.
        rescan: seconds between two scans of directories that cannot be watched.
        source: opens the directory, and checks that the path still names it; default: the directory that the path names at `start`.

    Attributes:
        watched: the watched directories.
        overflows: number of times that the kernel has dropped events.
    """

    def __init__(
        self,
        root: bytes,
        *,
        prune: Callable[[bytes, str], bool],
        rescan: float,
        source: Root | None = None,
    ) -> None:
        self._root = root
        self._prune = prune
        self._rescan = rescan
        self._source: Root = source or NamedRoot(root)
        self.watched = WatchMap()
        self._translator = Translator(self.watched, prune, self._is_complete)
        self._queue: EventQueue | None = None
        self._tree: Confined
        self._armer: Armer
        self._found: list[bytes] = []
        self._translating = False
        self.overflows = 0
        self._arming: asyncio.Future[None] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._hold_until = math.inf
        self._rescan_at = math.inf
        self._root_check_at = math.inf
        self._root_check: asyncio.Future[bool] | None = None
        self._mounts: TreeMounts
        self._mount_events: MountEvents | None = None
        self._mounts_changed = False
        self._back: list[bytes] = []
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        """Add the watches. Changes after this call are reported by `hints`.

        Raises:
            SourceError: if the root cannot be opened, or the kernel grants no inotify instance.
        """
        try:
            tree = Confined(self._source.duplicate_root())
        except OSError as error:
            raise SourceError(
                f"The source {printable(self._root)} cannot be watched: {error.strerror}."
            ) from error
        self._loop = asyncio.get_running_loop()
        try:
            with contextlib.ExitStack() as made:
                made.callback(tree.close)
                queue = made.enter_context(contextlib.closing(EventQueue(self._wake)))
                self._mounts = TreeMounts(tree.root_fd, self._prune)
                made.callback(self._mounts.close)
                self._mount_events = MountEvents(self._on_mount)
                made.pop_all()
        except OSError as error:
            raise SourceError(
                f"The kernel grants no inotify instance: {error.strerror}. Raise fs.inotify.max_user_instances"
                " (sysctl -w fs.inotify.max_user_instances=1024) or the limit of open files."
            ) from error
        self._queue, self._tree = queue, tree
        self._armer = Armer(tree, self.watched, self._is_unwatched, self.add_watch)
        self._arm_in_thread(self._steps([ROOT]))
        await self._armed()
        self._found.clear()  # the caller scans the whole tree after the start
        now = asyncio.get_running_loop().time()
        self._root_check_at = now + (PROBE_SOON if self._mounts.may_block else ROOT_CHECK)
        self._rescan_at = now + self._rescan

    async def hints(self) -> list[Hint]:
        """Wait for the next batch of hints, and return it. Only one task may call it at a time."""
        while True:
            await asyncio.sleep(0)  # let other tasks run while events keep arriving
            hints = await self._batch()
            if hints:
                return hints
            await self._readable()

    def is_drained(self, since: float) -> bool:
        """Return True if `hints` has returned every event that was in the kernel's queue at `since`, a time of the loop's clock."""
        if self._queue is None or self._closed or self._translating or self._translator.halves:
            return False
        return self._queue.is_drained(since)

    def problems(self) -> list[str]:
        """Return full sentences about directories that are not watched."""
        problems = []
        if self._translator.root_gone:
            problems.append(
                f"The source {printable(self._root)} is no longer the directory that is watched:"
                " it was moved, removed or unmounted."
            )
        if self._queue is not None and not self._closed:
            unwatched = dict(self._armer.unwatched)
            problems.extend(describe(self._root, unwatched, len(self.watched), self._rescan))
            problems.extend(self._mounts.problems(self._root))
        return problems

    def unheard_files(self) -> list[bytes]:
        """See `ports.Watcher`; empty before `start`."""
        return self._mounts.files if self._queue is not None else []

    def watches(self) -> tuple[int, int | None]:
        """Return the number of watched directories, and the kernel's limit for all programs of the user; None: unknown."""
        return len(self.watched), watch_limit()

    def rescan_every(self, seconds: float) -> None:
        """Change the interval at which directories without a watch are scanned."""
        self._rescan = seconds
        self._rescan_at = min(self._rescan_at, asyncio.get_running_loop().time() + seconds)
        self._ready.set()

    def close(self) -> None:
        """Release the watches. A thread that is still adding watches stops at its next directory, and releases them itself.

        This never waits for the lock: a thread that accesses a hanging file system may hold it.
        """
        self._closed = True
        if self._mount_events is not None:
            self._mount_events.close()
        if self._lock.acquire(blocking=False):
            try:
                self._release_all()
            finally:
                self._lock.release()

    def _release_all(self) -> None:
        """Close the inotify instance and all descriptors, once. The caller must hold the lock."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None
            self._mounts.close()
            self._tree.close()

    def add_watch(self, directory: int) -> int:
        """Add a watch to an open directory; return the watch descriptor.

        Raises:
            OSError: ENOSPC if fs.inotify.max_user_watches is reached, EACCES if the directory is not readable.
        """
        if self._queue is None or self._closed:
            raise OSError(errno.EBADF, "the watcher is closed")
        return self._queue.add_watch(directory)

    async def _batch(self) -> list[Hint]:
        await self._armed()
        assert self._queue is not None  # hints() comes between start() and close()
        # Until the hints are returned: by the next call, if this one is cancelled.
        self._translating = True
        now = asyncio.get_running_loop().time()
        events = self._queue.read(now)
        self._check_root(now)
        if events or now >= self._hold_until:
            lost = set(self.watched.detached)
            self._translator.translate(events)
            self._hold_until = now + HOLD  # if this call is cancelled below, the next one continues
            await self._arm(self._checks(now))
            self._release(lost)
            waiting = self._translator.halves or self.watched.detached
            self._hold_until = now + HOLD if waiting else math.inf
            self._tree.forget_all()  # rmdir of a directory held open sends no event
        else:
            await self._arm(self._checks(now))
        if self._queue.has_forgotten():
            self._translator.tell(Hint(Hinted.SUBTREE, ROOT))
        for path in self._found:
            self._translator.tell(Hint(Hinted.SUBTREE, path))
        self._found.clear()
        hints, self._translator.hints = self._translator.hints, []
        self._translating = False
        return self._with_aliases(hints) if self._mounts.aliases else hints

    def _checks(self, now: float) -> list[bytes]:
        """Return the directories whose watches must be checked."""
        translator = self._translator
        located = [self.watched.locate(*name) for name in translator.checks]
        paths = [p for p in located if p is not None and not self._prune(p, DIRECTORY)]
        translator.checks.clear()
        paths.extend(self._check_mounts())
        if now >= self._rescan_at:
            self._rescan_at = now + self._rescan
            paths.extend(self._armer.unwatched)
            for path in self._mounts.unheard:
                translator.tell(Hint(Hinted.CHANGED, path))
                translator.tell(Hint(Hinted.SUBTREE, path))
        if translator.overflowed:
            translator.overflowed = False
            self.overflows += 1
            paths = [ROOT]
        return list(dict.fromkeys(paths))

    def _steps(self, paths: list[bytes]) -> Generator[None, None, None]:
        for path in paths:
            yield from self._armer.arm(path, self._found)

    async def _arm(self, paths: list[bytes]) -> None:
        if not paths:
            return
        until = time.monotonic() + INLINE
        steps = self._steps(paths)
        if not self._mounts.may_block:
            for _ in steps:
                if time.monotonic() > until:
                    break
            else:
                return
        self._arm_in_thread(steps)
        await self._armed()

    def _arm_in_thread(self, steps: Generator[None, None, None]) -> None:
        self._arming = in_daemon_thread(lambda: self._drain(steps))

    def _drain(self, steps: Generator[None, None, None]) -> None:
        done = object()
        try:
            while True:
                with self._lock:
                    if self._closed:
                        steps.close()
                    if next(steps, done) is done:
                        return
        finally:
            if self._closed:  # `close` may have found the lock taken
                with self._lock:
                    self._release_all()

    async def _armed(self) -> None:
        """Wait for the thread. If this call is cancelled, the thread continues, and the next call waits for it."""
        if self._arming is not None:
            await asyncio.shield(self._arming)
            self._arming = None

    def _release(self, lost: set[int]) -> None:
        """Remove the watches of directories that left the tree: detached before this batch, and not placed again."""
        assert self._queue is not None  # as in _batch
        for wd in lost & self.watched.detached:
            for each in self.watched.remove(wd):
                self._queue.remove_watch(each)

    def _is_complete(self, path: bytes) -> bool:
        """Return True if the new file at `path` is complete, so that no write and close need to be awaited.

        A hard link is complete. So is a file whose ctime differs from its mtime: it was linked here, or its writer has already set
        its times.
        """
        if self._mounts.is_remote(path):
            return True  # lstat could block the event loop
        try:
            status = self._tree.lstat(path)
        except OSError:
            return True
        return (
            not stat.S_ISREG(status.st_mode)
            or status.st_nlink != 1
            or status.st_mtime_ns != status.st_ctime_ns
        )

    def _check_root(self, now: float) -> None:
        """Evaluate the last check of the root's path, and start the next one when it is due."""
        if self._root_check is not None and self._root_check.done():
            same, self._root_check = self._root_check.result(), None
            self._translator.root_gone = not same
            if not same:
                self._translator.tell(Hint(Hinted.CHANGED, ROOT))
        if now < self._root_check_at:
            return
        self._root_check_at = now + ROOT_CHECK
        self._back += self._mounts.probe()
        if self._root_check is None:
            self._root_check = in_daemon_thread(self._is_in_place)
            self._root_check.add_done_callback(lambda _: self._ready.set())

    def _is_in_place(self) -> bool:
        try:
            self._source.check_root()
        except (OSError, SourceError):
            return False
        return True

    def _is_unwatched(self, path: bytes, kind: str) -> bool:
        return self._mounts.is_skipped(path) or self._prune(path, kind)

    def _on_mount(self) -> None:
        """Note that the mount table changed; called from a thread."""
        self._mounts_changed = True
        self._wake()

    def _wake(self) -> None:
        """Let `hints` look at what has changed; called from threads."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ready.set)

    def _check_mounts(self) -> list[bytes]:
        """Return the paths at which a mount has changed or answers again; add hints that these must be scanned."""
        paths = []
        if self._mounts_changed:
            self._mounts_changed = False
            paths = self._mounts.refresh()
            if self._mounts.may_block:
                self._root_check_at = min(self._root_check_at, self._loop.time() + PROBE_SOON)
        paths += self._back
        self._back = []
        for path in paths:  # the scan decides whether the mount is trusted
            self._translator.tell(Hint(Hinted.SUBTREE, path))
        return [path for path in paths if not self._mounts.is_skipped(path)]

    def _with_aliases(self, hints: list[Hint]) -> list[Hint]:
        if any(hint.kind is Hinted.MOVED for hint in hints):
            self._mounts_changed = True  # the renamed directory may be the source of a bind mount
            self._ready.set()
        return self._mounts.with_aliases(hints)

    async def _readable(self) -> None:
        """Wait for events or the next timer. The reader is registered only here: it would fire all the time while events are unread."""
        assert self._queue is not None  # as in _batch
        if self._queue.has_unread:
            return
        loop = asyncio.get_running_loop()
        until = min(self._hold_until, self._rescan_at, self._root_check_at)
        descriptor = self._queue.fileno()
        loop.add_reader(descriptor, self._ready.set)
        try:
            async with asyncio.timeout_at(until):
                await self._ready.wait()
        except TimeoutError:
            pass
        finally:
            self._ready.clear()
            loop.remove_reader(descriptor)
