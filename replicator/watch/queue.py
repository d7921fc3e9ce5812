"""The queue of events of one inotify instance."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import termios
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct

from inotify_simple import INotify, flags

from replicator.watch.event_backlog import EventBacklog
from replicator.watch.translate import Event

MASK = (
    flags.ATTRIB
    | flags.CLOSE_WRITE
    | flags.MODIFY
    | flags.CREATE
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.ONLYDIR
    | flags.EXCL_UNLINK
)
"""Without DONT_FOLLOW: the path is /proc/self/fd/<n>, a link to a directory that was opened with O_NOFOLLOW."""

BATCH = 250
"""Events that are returned at once; their translation and their hints take 4 ms."""

PARSED = 2000
"""Events that are parsed at once, 1.5 us each."""

READ_SIZE = 1 << 13
"""Bytes of events in the first read: about 250."""

MORE = 1 << 20
"""Bytes in a further read: all 16,384 events that the kernel queues by default, unless their names are long."""

READ_AHEAD = 16 << 20
"""Bytes of events that are buffered before they are parsed."""

MAX_EVENT = 16 + 256
"""Maximum bytes of one event. A read that returns that much less than its buffer has emptied the queue."""

LATE = 0.01
"""Seconds after which events that the event loop has not read are read by a thread. `chmod -R` fills the kernel's queue in 30 ms, and a
turn of the loop may take longer where other processes use the CPU."""

_HEADER = Struct("iIII")


class EventQueue:
    """One inotify instance: its watches, and its events, of which more are read ahead than `read` returns at once.

    The event loop calls `read`; a thread reads what the loop leaves in the kernel's queue for LATE seconds. Watches may be added by
    another thread. Times are those of the loop's clock, passed in by the caller.

    Args:
        wake: called from the thread after it has read events.

    Raises:
        OSError: EMFILE if the kernel grants no instance, or no descriptor.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._unread: deque[bytes] = deque()
        self._offset = 0  # of the next event in the first of them
        self._backlog = EventBacklog()
        self._emptied_at = (
            -math.inf
        )  # when the last read that left nothing in the kernel's queue began
        self._drained_at = -math.inf  # the same, of what `read` has returned
        with contextlib.ExitStack() as made:
            self._inotify = made.enter_context(contextlib.closing(INotify(nonblocking=True)))
            self._closing = os.eventfd(0, os.EFD_CLOEXEC)
            made.callback(os.close, self._closing)
            self._thread = threading.Thread(target=self._read_late, daemon=True)
            self._thread.start()
            self._open = made.pop_all()

    def fileno(self) -> int:
        """Return the descriptor, which is readable while events are waiting in the kernel."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Release the instance with all watches."""
        os.eventfd_write(self._closing, 1)
        self._thread.join()  # it waits for nothing but events
        self._open.close()

    def add_watch(self, directory: int) -> int:
        """Add a watch to an open directory; return the watch descriptor.

        Raises:
            OSError: ENOSPC if fs.inotify.max_user_watches is reached, EACCES if the directory is not readable.
        """
        return int(self._inotify.add_watch(b"/proc/self/fd/%d" % directory, MASK))

    def remove_watch(self, wd: int) -> None:
        """Remove a watch, unless the kernel has removed it."""
        with contextlib.suppress(OSError):  # EINVAL: removed in the meantime
            self._inotify.rm_watch(wd)

    def read(self, now: float) -> list[Event]:
        """Return the next events, perhaps none: in the order of the kernel if they are few, else in that of `watch.event_backlog`."""
        with self._lock:
            if self._fetch(READ_SIZE):
                self._emptied_at = now
            if not self._backlog and sum(map(len, self._unread)) <= READ_SIZE:
                events = [Event(*one) for one in self._parsed()]
            else:
                for one in islice(self._parsed(), PARSED):
                    self._backlog.add(*one)
                events = self._backlog.take(BATCH)
            if not self.has_unread:
                self._drained_at = self._emptied_at
            return events

    @property
    def has_unread(self) -> bool:
        """True if `read` would return events without reading more."""
        return bool(self._unread or self._backlog)

    def has_forgotten(self) -> bool:
        """Return True if events were dropped since the last call, so that the tree must be scanned; all directories are watched."""
        forgot, self._backlog.forgot = self._backlog.forgot, False
        return forgot

    def is_drained(self, since: float) -> bool:
        """Return True if `read` has returned every event that was in the kernel's queue at the time `since`."""
        if self.has_unread:
            return False
        if self._drained_at >= since:
            return True
        waiting = array("i", [0])
        fcntl.ioctl(self._inotify.fileno(), termios.FIONREAD, waiting)
        return not waiting[0]

    def _fetch(self, size: int) -> bool:
        """Move events from the kernel's queue to `_unread`; return True if none was left. The caller must hold the lock."""
        while sum(map(len, self._unread)) < READ_AHEAD:
            try:
                data = os.read(self._inotify.fileno(), size)
            except BlockingIOError:
                return True
            self._unread.append(data)
            if len(data) < size - MAX_EVENT:
                return True
            size = MORE
        return False

    def _parsed(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield the fields of unread events; see inotify(7). The next call goes on where this one ends."""
        while self._unread:
            data = self._unread[0]
            while self._offset < len(data):
                wd, mask, cookie, size = _HEADER.unpack_from(data, self._offset)
                start = self._offset + _HEADER.size
                self._offset = start + size
                yield wd, mask, cookie, data[start : self._offset].rstrip(b"\0")
            self._unread.popleft()
            self._offset = 0

    def _read_late(self) -> None:
        """Read what the event loop leaves unread for LATE seconds, until `close`."""
        closed, any_ = select.poll(), select.poll()
        for poll in (closed, any_):
            poll.register(self._closing, select.POLLIN)
        any_.register(self._inotify.fileno(), select.POLLIN)
        while any_.poll() and not closed.poll(1000 * LATE):
            with self._lock:
                before = len(self._unread)
                self._fetch(MORE)
                is_more = len(self._unread) > before
            if is_more:
                self._wake()
