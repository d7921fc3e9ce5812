"""The file systems that are mounted, as the kernel lists them in /proc/self/mountinfo (proc(5)).

Reading the list touches none of the file systems, so a network mount that hangs cannot hang the reader. The kernel marks the
file whenever something is mounted or unmounted (poll(2): POLLPRI); a rename of a directory above a mount is not told.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

MOUNTINFO = "/proc/self/mountinfo"

NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre", "ocfs2", "gfs2")
)
"""Types of file systems that may stop answering when another machine does; FUSE is one as well (see `Mount.may_hang`)."""

_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mounted file system, or a part of one (a bind mount).

    Attributes:
        number, above: its number, and that of the mount on which it is mounted.
        device: `major:minor` of the file system.
        root: which directory or file of the file system is mounted.
        point: absolute path where it is mounted.
        kind: the file system's type.
        source: what the file system calls itself, such as a device or an export.
        volume: the file system's own id (statvfs(3): f_fsid), as the kernel gives device and mount numbers to the next one that is
            mounted; empty where asking could hang, and for a mount outside of the tree.
    """

    number: int
    above: int
    device: bytes
    root: bytes
    point: bytes
    kind: bytes
    source: bytes
    volume: bytes = b""

    @property
    def identity(self) -> str:
        """Text that another volume in its place, or another part of this one, would not have."""
        parts = (self.device, self.root, self.kind, self.source, self.volume)
        return " ".join(part.decode("utf-8", "backslashreplace") for part in parts)

    @property
    def may_hang(self) -> bool:
        """True if another machine or process answers for it, which may stop doing so."""
        kind = self.kind.decode("ascii", "replace")
        return kind in NETWORK or kind == "fuse" or kind.startswith("fuse.")


class MountTable:
    """The mounts of this process's namespace, read again when the kernel says that they changed."""

    def __init__(self) -> None:
        self._fd = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._generation = 0
        self._mounts: list[Mount] | None = None
        self._below: tuple[bytes, dict[bytes, Mount]] | None = None

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._fd)

    def generation(self) -> int:
        """Return a number that is another one after something was mounted or unmounted."""
        if self._poll.poll(0):
            self.forget()
        return self._generation

    def forget(self) -> None:
        """Read the table again when it is next asked for: a directory above a mount was renamed."""
        self._generation += 1
        self._mounts = self._below = None

    def below(self, root: bytes) -> dict[bytes, Mount]:
        """Return the visible mounts strictly below a real path, by path relative to it."""
        self.generation()
        if self._mounts is None:
            self._mounts = _read(self._fd)
        if self._below is None or self._below[0] != root:
            found = below(self._mounts, root)
            self._below = root, {path: _with_volume(mount) for path, mount in found.items()}
        return dict(self._below[1])

    def holding(self, root: bytes) -> Mount | None:
        """Return the mount on which a real path lies; None if it cannot be told."""
        self.below(root)
        return Visible(self._mounts or []).at(root)


def below(mounts: list[Mount], root: bytes) -> dict[bytes, Mount]:
    """Return those of `mounts` that are strictly below a real path and not hidden by another, by path relative to it."""
    prefix = root.rstrip(b"/") + b"/"
    points = {mount.point for mount in mounts if mount.point.startswith(prefix)}
    if not points:
        return {}
    visible = Visible(mounts)
    found = {point[len(prefix) :]: visible.at(point) for point in sorted(points)}
    return {
        path: mount
        for path, mount in found.items()
        if mount is not None and prefix + path == mount.point
    }


def parse(text: bytes) -> Iterator[Mount]:
    """Yield the mounts in the text of a mountinfo file; a line that has another form is left out."""
    for line in text.splitlines():
        left, separator, right = line.partition(b" - ")
        fields, more = left.split(b" "), right.split(b" ")
        if not separator or len(fields) < 6 or len(more) < 2:
            continue
        number, above, device, root, point = fields[:5]
        yield Mount(int(number), int(above), device, *map(_plain, (root, point, more[0], more[1])))


class Visible:
    """Which mount a path leads to: a later mount hides what is below its mount point."""

    def __init__(self, mounts: list[Mount]) -> None:
        numbers = {mount.number for mount in mounts}
        self._on = {(mount.above, mount.point): mount for mount in mounts}
        self._first = next(
            (
                m
                for m in mounts
                if m.point == b"/" and (m.above not in numbers or m.above == m.number)
            ),
            None,
        )

    def at(self, path: bytes) -> Mount | None:
        """Return the mount that holds the absolute path; None in a chroot whose root is no mount point."""
        mount = self._first
        ends = [i for i, byte in enumerate(path) if byte == 0x2F and i] + [len(path)]
        for place in (b"/", *(path[:end] for end in ends)):
            while mount is not None:
                upper = self._on.get((mount.number, place))
                if upper is None or upper is mount:
                    break
                mount = upper
        return mount


def _with_volume(mount: Mount) -> Mount:
    if (
        mount.may_hang or mount.kind == b"autofs"
    ):  # asking autofs mounts what it waits for, and may hang
        return mount
    try:
        return mount._replace(volume=b"%x" % os.statvfs(mount.point).f_fsid)
    except OSError:  # unmounted since, or it cannot be asked: its other names have to do
        return mount


def _read(fd: int) -> list[Mount]:
    os.lseek(fd, 0, os.SEEK_SET)
    chunks = []
    while chunk := os.read(fd, 1 << 16):
        chunks.append(chunk)
    return list(parse(b"".join(chunks)))


def _plain(field: bytes) -> bytes:
    """Undo the kernel's escapes of blanks, newlines and backslashes."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field)


class MountEvents:
    """Calls back whenever something is mounted or unmounted, from a thread that waits for it.

    Not from the event loop's selector: the kernel marks the file for whoever polls it first, and calls it readable all the time.

    Args:
        changed: called from that thread.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        with ExitStack() as made:
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            made.callback(os.close, self._stop)
            self._fd = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            made.callback(os.close, self._fd)
            self._thread = threading.Thread(target=self._run, name="mounts", daemon=True)
            self._thread.start()
            made.pop_all()

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._fd)
        os.close(self._stop)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        poll.register(self._stop, select.POLLIN)
        while all(fd != self._stop for fd, _ in poll.poll()):
            self._changed()


class Prober:
    """Asks file systems whether they answer, each from a thread of its own, which may hang as long as the file system does."""

    def __init__(self) -> None:
        self._asked: dict[bytes, threading.Thread] = {}

    def ask(self, point: bytes) -> None:
        """Ask the file system at a mount point, unless it still owes an answer."""
        if self.answered(point):
            thread = threading.Thread(target=_ask, args=(point,), daemon=True)
            thread.start()  # may fail; what was not started could never be joined
            self._asked[point] = thread

    def answered(self, point: bytes, within: float = 0.0) -> bool:
        """Return True if the file system has answered what it was asked; blocks for `within` seconds at most."""
        thread = self._asked.get(point)
        if thread is not None:
            thread.join(within)
        return thread is None or not thread.is_alive()


def _ask(point: bytes) -> None:
    with suppress(OSError):  # an error is an answer
        os.statvfs(point)
