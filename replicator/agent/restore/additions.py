"""Create names in a tree that do not exist there, and never replace any: the part of a restore that writes."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import Optional

from replicator.agent.descriptors import handle
from replicator.agent.directories import Directories
from replicator.agent.file_writer import leaf
from replicator.agent.refusals import Refused
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.store import Store
from replicator.files.confined import Confined
from replicator.wire import changes
from replicator.wire.changes import MakeDirectory

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

ACCESS = 0o700
"""Bits that a directory has while it is filled, in addition to its own."""


class Taken(Refused):
    """Raised when a name exists, or a live change has removed it since the restore began."""

    def __init__(self) -> None:
        super().__init__(changes.FAILED, "the name is taken")


LOOK = 0.1
"""Seconds between two checks whether the root is still in its place. Fencing is checked for each name."""


class _Directories(Directories):
    """Opens directories without a check for each, and without recording their times: a restore sets them at its end."""

    def changing(self, directory: bytes) -> int:
        try:
            return self.reach(directory)
        except FileNotFoundError:
            raise Refused(changes.VANISHED, "its directory is not there") from None


class Additions(Store):
    """A second store of an open tree, for one thread of a restore, that only adds names.

    It has the owner, policy and write lease of the first, and descriptors of its own.

    Args:
        store: the open tree.
        session: a name for the temporaries, unique on the host.
        live: what live changes have changed meanwhile.
    """

    def __init__(self, store: Store, session: bytes, live: LiveChanges) -> None:
        tree = Confined(os.dup(store.tree.root_fd), unread=True)
        super().__init__(
            tree,
            store.owner,
            setid=store.setid,
            session=session,
            lease=store.lease.on(tree.root_fd),
            symlinks=store.symlinks,
        )
        self.directories = _Directories(tree, self.lease)
        self._live = live
        self._looked_at = 0.0

    def exists(self, path: bytes) -> bool:
        """Return True if there is something at a path. Raises OSError, PathRefused."""
        try:
            self.tree.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def add_directory(self, change: MakeDirectory) -> Optional[tuple[int, int]]:
        """Create a directory, accessible to its owner until `finish_directory`; return the mode and time of one that exists.

        Raises:
            Taken: something else is there, or a live change has removed it.
            Refused, OSError: it cannot be created.
        """
        with self._live.lock:
            try:
                status = self.tree.lstat(change.path)
            except FileNotFoundError:
                pass
            else:
                if not stat.S_ISDIR(status.st_mode):
                    raise Taken
                return stat.S_IMODE(status.st_mode), status.st_mtime_ns
            if not self._live.admits(change.path):
                raise Taken
            self._may_write()
            self.make_directory(change._replace(mode=change.mode | ACCESS))
        return None

    def finish_directory(self, path: bytes, mode: int, mtime_ns: int) -> None:
        """Give a directory its mode and time, unless live changes have done so. Raises OSError, Refused, PathRefused."""
        with self._live.lock:
            if not self._live.admits(path):
                return
            mode, mtime_ns = self._live.directories.get(path) or (mode, mtime_ns)
            self._may_write()
            fd = handle(self.directories.reach(path))
            os.chmod(fd, mode & self._bits)
            os.utime(fd, ns=(mtime_ns, mtime_ns))

    def _may_write(self) -> None:
        """Verify that this agent may change its tree now. Raises Fenced, Refused (ROOT_GONE)."""
        now = time.monotonic()
        if now - self._looked_at < LOOK:
            self.lease.take_over()
        else:
            self.lease.check()
            self._looked_at = now

    def _take_name(self, at: int, temporary: bytes, path: bytes) -> None:
        """Give a complete temporary its name; link() fails if the name exists."""
        with self._live.lock:
            if not self._live.admits(path):
                raise Taken
            self._may_write()
            try:
                os.link(temporary, leaf(path), src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            except FileExistsError:
                raise Taken from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._rename(at, temporary, path)
                return
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=at)

    def _rename(self, at: int, temporary: bytes, path: bytes) -> None:
        """Do the same on a file system without hard links; only this agent creates names there, and it holds the lock."""
        with suppress(FileNotFoundError):
            os.stat(leaf(path), dir_fd=at, follow_symlinks=False)
            raise Taken
        os.rename(temporary, leaf(path), src_dir_fd=at, dst_dir_fd=at)

    def close(self) -> None:
        """Restore modes that were widened, and close all descriptors."""
        self.settle()
        self.tree.close()
