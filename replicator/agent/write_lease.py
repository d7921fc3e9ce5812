"""Check whether this agent may change its tree: no newer agent has taken over, and the open root is still the directory at its path."""

from __future__ import annotations

import os

from replicator.agent.fencing import FencingToken
from replicator.agent.refusals import Refused
from replicator.wire import changes


class WriteLease:
    """An agent's right to change one tree.

    Args:
        root_fd: descriptor of the tree's root; it stays open as long as the tree is.
        token: the fencing token of that directory.
        place: the root's path, checked to notice that the root was renamed or unmounted; empty: not checked.
        doubt: who else could have put another directory there, as a clause; empty if nobody could.

    Attributes:
        doubt: the argument.
    """

    def __init__(
        self, root_fd: int, token: FencingToken, place: bytes = b"", doubt: str = ""
    ) -> None:
        self.doubt = doubt
        self._fd = root_fd
        self._place = place
        self._token = token
        status = os.fstat(root_fd)
        self._root = status.st_dev, status.st_ino

    def on(self, root_fd: int) -> WriteLease:
        """Return the same right for another descriptor of the root."""
        return WriteLease(root_fd, self._token, self._place, self.doubt)

    @property
    def identity(self) -> str:
        """Text that identifies the root: its inode number and the file system's id, or the device number if there is no id."""
        filesystem = os.fstatvfs(self._fd).f_fsid
        device, inode = self._root
        return f"{inode} {filesystem}" if filesystem else f"{inode} on {device}"

    def check(self) -> None:
        """Verify that this agent may change its tree now; the first call takes over from older agents.

        Raises:
            Fenced: a newer agent has taken over.
            Refused: ROOT_GONE; see `look`.
        """
        self.take_over()
        self._look_at_place()

    def take_over(self) -> None:
        """Keep older agents from changing the tree from now on.

        Raises:
            Fenced: a newer agent has taken over.
        """
        self._token.check()

    def look(self) -> None:
        """Verify the same as `check`, but do not take over from older agents.

        Raises:
            Fenced: a newer agent has taken over.
            Refused: ROOT_GONE: the root was moved, removed or replaced, so that readers would not find what is written to it.
        """
        self.yield_to_newer()
        self._token.check_lock()
        self._look_at_place()

    def yield_to_newer(self) -> None:
        """Raise Fenced if a newer agent has taken over."""
        self._token.look()

    def check_root(self) -> None:
        """Verify that the root was not removed.

        Raises:
            Refused: ROOT_GONE: it was.
        """
        if os.fstat(self._fd).st_nlink == 0:
            raise Refused(changes.ROOT_GONE, "the target root was removed")

    def _look_at_place(self) -> None:
        try:
            there = os.stat(self._place) if self._place else None
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(changes.ROOT_GONE, "the target root was moved or removed") from None
        except (
            OSError
        ):  # a directory above may no longer be searched: nothing contradicts the open root
            return
        if there is not None and (there.st_dev, there.st_ino) != self._root:
            raise Refused(changes.ROOT_GONE, "the target root is another directory now")
