"""The queue of events of one inotify instance."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import termios
from array import array
from collections import deque

from inotify_simple import INotify, flags, parse_events

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

READ_SIZE = 1 << 13
"""Bytes of events in a batch: about 250 events, whose translation blocks the loop for about 5 ms."""

READ_AHEAD = 16 << 20
"""Bytes of events that are buffered before they are translated: the kernel's queue holds 16,384 events, which `chmod -R` fills in
30 ms."""

MAX_EVENT = 16 + 256
"""Maximum bytes of one event. A read that returns that much less than its buffer has emptied the queue."""


class EventQueue:
    """One inotify instance: its watches, and its events, of which more are read ahead than `read` returns at once.

    The event loop reads; watches may be added by another thread. Times are those of the loop's clock, passed in by the caller.

    Raises:
        OSError: EMFILE if the kernel grants no instance, or no descriptor.
    """

    def __init__(self) -> None:
        self._inotify = INotify(nonblocking=True)
        self._unread: deque[bytes] = deque()
        self._emptied_at = (
            -math.inf
        )  # when the last read that left nothing in the kernel's queue began
        self._drained_at = -math.inf  # the same, of what `read` has returned

    def fileno(self) -> int:
        """Return the descriptor, which is readable while events are waiting in the kernel."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Release the instance with all watches."""
        self._inotify.close()

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
        """Return the next events, perhaps none."""
        while len(self._unread) < READ_AHEAD // READ_SIZE:
            try:
                data = os.read(self._inotify.fileno(), READ_SIZE)
            except BlockingIOError:
                data = b""
            if data:
                self._unread.append(data)
            if len(data) < READ_SIZE - MAX_EVENT:
                self._emptied_at = now
                break
        data = self._unread.popleft() if self._unread else b""
        if not self._unread:
            self._drained_at = self._emptied_at
        return [Event(e.wd, e.mask, e.cookie, os.fsencode(e.name)) for e in parse_events(data)]

    def is_drained(self, since: float) -> bool:
        """Return True if `read` has returned every event that was in the kernel's queue at the time `since`."""
        if self._unread:
            return False
        if self._drained_at >= since:
            return True
        waiting = array("i", [0])
        fcntl.ioctl(self._inotify.fileno(), termios.FIONREAD, waiting)
        return not waiting[0]
