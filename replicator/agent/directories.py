"""Open the directories of one tree for changes, and restore their times and modes afterwards.

Adding and removing names changes the modification time of the directory. `settle` restores it at the end of each frame; so a
directory's time changes only when the backend says so, and the order in which changes arrive does not matter. Modes likewise:
a directory whose mode denies access to its owner, the agent's user, is made accessible until `settle`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Callable, TypeVar

from replicator.agent.descriptors import handle
from replicator.agent.refusals import Refused
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined
from replicator.model import is_within, parent, rebase
from replicator.wire import changes

T = TypeVar("T")


class Directories:
    """Opens directories for changes, and records the times and modes to restore.

    Args:
        tree: the root.
        lease: checked before each change.
    """

    def __init__(self, tree: Confined, lease: WriteLease) -> None:
        self._tree = tree
        self._lease = lease
        self._times: dict[bytes, int] = {}
        self._modes: dict[bytes, int] = {}

    def changing(self, directory: bytes) -> int:
        """Return a descriptor of a directory in which names are about to change, and record its time for `settle`.

        A missing directory is not created: without a change for it, the backend would not know that it has to be removed.

        Raises:
            Refused: VANISHED: the directory is missing; ROOT_GONE: the root is.
            Fenced: a newer agent has taken over.
            OSError: the directory cannot be reached.
        """
        self._lease.check()
        try:
            fd = self.reach(directory)
        except FileNotFoundError:
            self._lease.check_root()
            raise Refused(changes.VANISHED, "its directory is not there") from None
        if directory and directory not in self._times:
            self._times[directory] = os.fstat(fd).st_mtime_ns
        return fd

    def reach(self, directory: bytes) -> int:
        """Return a descriptor of a directory; make directories above it accessible until `settle` where necessary (see `widened`)."""
        try:
            return self._tree.directory(directory)
        except PermissionError:
            if not directory:
                raise
            above = parent(directory)
            return self.widened(self.reach(above), above, lambda: self._tree.directory(directory))

    def widened(self, at: int, directory: bytes, act: Callable[[], T]) -> T:
        """Return the result of `act`, which works in the directory open as `at`.

        If the directory's mode denies that to its owner, the agent's user, add write and search permission until `settle`, and
        call `act` again.
        """
        try:
            return act()
        except PermissionError:
            status = os.fstat(at)
            if status.st_uid != os.geteuid() or status.st_mode & 0o300 == 0o300:
                raise
            self._lease.check()
            self._modes.setdefault(directory, stat.S_IMODE(status.st_mode))
            os.chmod(handle(at), stat.S_IMODE(status.st_mode) | 0o300)
            return act()
        except FileNotFoundError:
            self._lease.check_root()
            raise

    def ordered(self, directory: bytes, mtime_ns: int) -> None:
        """Record that the backend has set the mode and time of a directory: `settle` must keep these."""
        self._modes.pop(directory, None)
        self._times[directory] = mtime_ns

    def forget(self, path: bytes) -> None:
        """Drop what is recorded and held open for a path and everything below it: it was removed."""
        self._tree.forget(path)
        for held in (self._times, self._modes):
            for gone in [p for p in held if is_within(p, path)]:
                del held[gone]

    def moved(self, path: bytes, target: bytes) -> None:
        """Record that `path`, with everything below it, was renamed to `target`."""
        self._tree.forget(path)
        self.forget(target)
        for held in (self._times, self._modes):
            for old in [p for p in held if is_within(p, path)]:
                held[rebase(old, path, target)] = held.pop(old)

    def settle(self) -> None:
        """Restore the times and modes of the directories that were changed, and close held descriptors.

        Raises:
            Fenced: a newer agent has taken over.
        """
        if self._modes or self._times:
            self._lease.yield_to_newer()
        for path, mtime_ns in self._times.items():
            with suppress(OSError):  # the directory is gone: nothing to restore
                os.utime(handle(self._tree.directory(path)), ns=(mtime_ns, mtime_ns))
        # Subdirectories first: once a directory has its mode back, those below it may be out of reach.
        for path in sorted(self._modes, reverse=True):
            with suppress(OSError):
                os.chmod(handle(self._tree.directory(path)), self._modes[path])
        self._modes.clear()
        self._times.clear()
        self._tree.forget_all()
