"""The directories of one tree, while names in them change.

Putting and removing names changes the times of the directory that holds them. `settle` puts them back at the end of each
frame; so a directory's time changes only when the backend says so, and the order in which things arrive does not matter.
The same for modes: a directory of ours that denies us, its owner, gives us leave until then.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Callable, TypeVar

from replicator.agent.claim import Claim
from replicator.agent.descriptors import handle
from replicator.agent.refusals import Refused
from replicator.files.confined import Confined
from replicator.model import is_below, parent, rebase
from replicator.wire import changes

T = TypeVar("T")


class Directories:
    """Opens directories for changes, and remembers what to put back.

    Args:
        tree: the root.
        claim: asked before anything changes.
    """

    def __init__(self, tree: Confined, claim: Claim) -> None:
        self._tree = tree
        self._claim = claim
        self._times: dict[bytes, int] = {}
        self._modes: dict[bytes, int] = {}

    def changing(self, directory: bytes) -> int:
        """Return a descriptor of a directory whose names are about to change.

        One that is missing is not made: nothing may be here that no change has asked for, or nobody would remove it.

        Raises:
            Refused: VANISHED, or ROOT_GONE.
            Fenced, OSError: it may not be changed, or reached.
        """
        self._claim.check()
        try:
            fd = self.reach(directory)
        except FileNotFoundError:
            self._claim.check_root()
            raise Refused(changes.VANISHED, "its directory is not there") from None
        if directory and directory not in self._times:
            self._times[directory] = os.fstat(fd).st_mtime_ns
        return fd

    def reach(self, directory: bytes) -> int:
        """Return a descriptor of a directory; those of ours on the way that deny us give us leave until `settle`."""
        try:
            return self._tree.directory(directory)
        except PermissionError:
            if not directory:
                raise
            above = parent(directory)
            return self.widened(self.reach(above), above, lambda: self._tree.directory(directory))

    def widened(self, at: int, directory: bytes, act: Callable[[], T]) -> T:
        """Do `act` in a directory; if its mode denies us, its owner, give us leave until `settle`."""
        try:
            return act()
        except PermissionError:
            status = os.fstat(at)
            if status.st_uid != os.geteuid() or status.st_mode & 0o300 == 0o300:
                raise
            self._claim.check()
            self._modes.setdefault(directory, stat.S_IMODE(status.st_mode))
            os.chmod(handle(at), stat.S_IMODE(status.st_mode) | 0o300)
            return act()
        except FileNotFoundError:
            self._claim.check_root()
            raise

    def ordered(self, directory: bytes, mtime_ns: int) -> None:
        """A directory was given a mode and a time by the backend: these are what counts."""
        self._modes.pop(directory, None)
        self._times[directory] = mtime_ns

    def forget(self, path: bytes) -> None:
        """Whatever was held of a path, and below it, is no more."""
        self._tree.forget(path)
        for held in (self._times, self._modes):
            for gone in [p for p in held if p == path or is_below(p, path)]:
                del held[gone]

    def moved(self, path: bytes, target: bytes) -> None:
        """A path has another name now."""
        self._tree.forget(path)
        self.forget(target)
        for held in (self._times, self._modes):
            for old in [p for p in held if p == path or is_below(p, path)]:
                held[rebase(old, path, target)] = held.pop(old)

    def settle(self) -> None:
        """Put back the times and modes of the directories that were changed, and drop held descriptors.

        Raises:
            Fenced: this agent may not change them any more.
        """
        if self._modes or self._times:
            self._claim.yield_to_newer()
        for path, mtime_ns in self._times.items():
            with suppress(OSError):  # the directory is gone: nothing to put back
                os.utime(handle(self._tree.directory(path)), ns=(mtime_ns, mtime_ns))
        # What is below first, as long as we get there.
        for path in sorted(self._modes, reverse=True):
            with suppress(OSError):
                os.chmod(handle(self._tree.directory(path)), self._modes[path])
        self._modes.clear()
        self._times.clear()
        self._tree.forget_all()
