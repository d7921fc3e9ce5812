"""The mounted file systems, as the kernel lists them in /proc/self/mountinfo (proc(5)).

Reading that file does not access the file systems, so a hanging network mount cannot block the reader. poll(2) reports POLLPRI on
it after each mount and unmount, but not after a rename of a directory above a mount point.
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
"""File system types that depend on other machines and may hang. FUSE may hang as well: see `Mount.may_hang`."""

_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mounted file system, or a part of one (a bind mount).

    Attributes:
        number: mount ID.
        above: mount ID of the parent, on which it is mounted.
        device: `major:minor` of the file system.
        root: directory or file within the file system that is mounted; not `/` for a bind mount.
        point: absolute path of the mount point.
        kind: file system type.
        source: name given by the file system, such as a device or an NFS export.
        volume: file system id (statvfs(3): f_fsid), in hexadecimal. Needed because the kernel reuses device and mount numbers.
            Empty if asking could hang, and for mounts outside of the tree.
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
        """Text that differs for every other volume, and for every other directory of the same volume."""
        parts = (self.device, self.root, self.kind, self.source, self.volume)
        return " ".join(part.decode("utf-8", "backslashreplace") for part in parts)

    @property
    def may_hang(self) -> bool:
        """True if the file system depends on another machine or process that may stop answering."""
        kind = self.kind.decode("ascii", "replace")
        return kind in NETWORK or kind == "fuse" or kind.startswith("fuse.")


class MountTable:
    """The mounts in this process's namespace; read again after the kernel reported a change."""

    def __init__(self) -> None:
        self._fd = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._generation = 0
        self._mounts: list[Mount] | None = None
        self._below: tuple[bytes, dict[bytes, Mount]] | None = None

    def close(self) -> None:
        """Release the descriptor. Later calls do nothing: its number may belong to another file by then."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def generation(self) -> int:
        """Return a number that changes whenever something was mounted or unmounted."""
        if self._poll.poll(0):
            self.forget()
        return self._generation

    def forget(self) -> None:
        """Discard the table, so that the next access reads it again. Call it after a rename of a directory above a mount point."""
        self._generation += 1
        self._mounts = self._below = None

    def below(self, root: bytes) -> dict[bytes, Mount]:
        """Return the visible mounts strictly below a path, by path relative to it. The path must not contain symlinks."""
        self.generation()
        if self._mounts is None:
            self._mounts = _read(self._fd)
        if self._below is None or self._below[0] != root:
            found = below(self._mounts, root)
            self._below = root, {path: _with_volume(mount) for path, mount in found.items()}
        return dict(self._below[1])

    def holding(self, root: bytes) -> Mount | None:
        """Return the mount that contains a path without symlinks; None if unknown, as in some chroots."""
        self.below(root)
        return Visible(self._mounts or []).at(root)


def below(mounts: list[Mount], root: bytes) -> dict[bytes, Mount]:
    """Return the mounts that are strictly below `root` and not hidden by another mount, by path relative to `root`."""
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
    """Parse the content of a mountinfo file; skip lines of an unknown format."""
    for line in text.splitlines():
        left, separator, right = line.partition(b" - ")
        fields, more = left.split(b" "), right.split(b" ")
        if not separator or len(fields) < 6 or len(more) < 2:
            continue
        number, above, device, root, point = fields[:5]
        yield Mount(int(number), int(above), device, *map(_plain, (root, point, more[0], more[1])))


class Visible:
    """Finds the mount that contains a path: a mount hides everything that was below its mount point before."""

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
        """Return the mount that contains an absolute path; None in a chroot whose root is not a mount point."""
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
    ):  # statvfs on an autofs mount point triggers the mount, which may hang
        return mount
    try:
        return mount._replace(volume=b"%x" % os.statvfs(mount.point).f_fsid)
    except OSError:  # unmounted meanwhile, or not permitted: the identity then lacks the volume
        return mount


def _read(fd: int) -> list[Mount]:
    os.lseek(fd, 0, os.SEEK_SET)
    chunks = []
    while chunk := os.read(fd, 1 << 16):
        chunks.append(chunk)
    return list(parse(b"".join(chunks)))


def _plain(field: bytes) -> bytes:
    """Decode the octal escapes for space, tab, newline and backslash (proc(5))."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field)


class MountEvents:
    """Waits in a thread for mounts and unmounts, and calls a callback after each.

    The event loop's selector cannot be used: mountinfo is always readable, and after a change the kernel reports POLLPRI only to the
    first poll(2) of each open file.

    Args:
        changed: the callback; called in the thread.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        with ExitStack() as made:
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            made.callback(os.close, self._stop)
            self._fd = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            made.callback(os.close, self._fd)
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="mounts", daemon=True
            )
            self._thread.start()
            made.pop_all()

    def close(self) -> None:
        """Stop the thread, and wait for it. Later calls do nothing."""
        stop, self._stop = self._stop, -1
        if stop < 0:
            return
        os.eventfd_write(stop, 1)
        self._thread.join()
        os.close(self._fd)
        os.close(stop)

    def _run(self, stop: int) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        poll.register(stop, select.POLLIN)
        while all(fd != stop for fd, _ in poll.poll()):
            self._changed()


class Prober:
    """Tests whether file systems respond. Each has its own thread, because statvfs(2) blocks for as long as a mount hangs."""

    def __init__(self) -> None:
        self._asked: dict[bytes, threading.Thread] = {}

    def ask(self, point: bytes) -> None:
        """Start a test of the file system at a mount point, unless an earlier test is still running."""
        if self.answered(point):
            thread = threading.Thread(target=_ask, args=(point,), daemon=True)
            thread.start()  # may raise RuntimeError; so it is recorded only afterwards, as it could not be joined
            self._asked[point] = thread

    def answered(self, point: bytes, within: float = 0.0) -> bool:
        """Return True if no test of the file system is running; wait up to `within` seconds for one to end."""
        thread = self._asked.get(point)
        if thread is not None:
            thread.join(within)
        return thread is None or not thread.is_alive()


def _ask(point: bytes) -> None:
    with suppress(OSError):  # an error counts as a response
        os.statvfs(point)
