"""Whether this agent may change its tree now: nobody newer has taken over, and what it holds is what readers find."""

from __future__ import annotations

import os

from replicator.agent.fence import Fence
from replicator.agent.refusals import Refused
from replicator.wire import changes


class Claim:
    """An agent's right to change one tree.

    Args:
        root_fd: the tree's root, held for as long as the tree is open.
        fence: of that directory.
        place: the root's path, to notice that it was renamed or unmounted; empty: nobody looks.
        doubt: who else could have put another directory there, as a clause; empty if nobody could.

    Attributes:
        doubt: as given.
    """

    def __init__(self, root_fd: int, fence: Fence, place: bytes = b"", doubt: str = "") -> None:
        self.doubt = doubt
        self._fd = root_fd
        self._place = place
        self._fence = fence
        status = os.fstat(root_fd)
        self._root = status.st_dev, status.st_ino

    @property
    def identity(self) -> str:
        """Text that another directory in the root's place would not have: of inode and file system, or device if that has no id."""
        filesystem = os.fstatvfs(self._fd).f_fsid
        device, inode = self._root
        return f"{inode} {filesystem}" if filesystem else f"{inode} on {device}"

    def check(self) -> None:
        """Return if this agent may change its tree now; from the first time on, no older one may.

        Raises:
            Fenced: a newer one has changed it already.
            Refused: ROOT_GONE; see `look`.
        """
        self.take_over()
        self._look_at_place()

    def take_over(self) -> None:
        """From now on no older agent may change the tree. Raises Fenced."""
        self._fence.check()

    def look(self) -> None:
        """Check, but take over from nobody.

        Raises:
            Fenced: a newer agent has changed the tree already.
            Refused: ROOT_GONE; what we write would be seen by nobody, or not be where it was ordered.
        """
        self.yield_to_newer()
        self._fence.check_lock()
        self._look_at_place()

    def yield_to_newer(self) -> None:
        """Return if there is no newer agent. Raises Fenced."""
        self._fence.look()

    def check_root(self) -> None:
        """Return if the root still has a name.

        Raises:
            Refused: ROOT_GONE.
        """
        if os.fstat(self._fd).st_nlink == 0:
            raise Refused(changes.ROOT_GONE, "the target root was removed")

    def _look_at_place(self) -> None:
        try:
            there = os.stat(self._place) if self._place else None
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(changes.ROOT_GONE, "the target root was moved or removed") from None
        except OSError:  # a way that we may not search any more: what we hold is all we know
            return
        if there is not None and (there.st_dev, there.st_ino) != self._root:
            raise Refused(changes.ROOT_GONE, "the target root is another directory now")
