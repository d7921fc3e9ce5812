"""What a frontend allows its backend to ask for, fixed by the options with which the agent is started."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple, Optional

from replicator.agent.file_writer import Owner
from replicator.errors import NotAllowed

_CAP_CHOWN = 1 << 0


def may_give_away() -> bool:
    """Return True if this process can give files to any user: it has CAP_CHOWN, as root does, or /proc does not say."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/status", "rb") as file:
        effective = file.read().partition(b"CapEff:")[2].split()[0]
        return bool(int(effective, 16) & _CAP_CHOWN)
    return True


class Policy(NamedTuple):
    """What the backend may ask a pinned agent for.

    Attributes:
        owner: owner of what is written; -1: the agent's own user, or one of its groups.
        setid: whether setuid and setgid bits may be kept.
        trees: the only directories that may be targets, relative to the root; None: any below the root.
        symlinks: which symlinks may be made; see `model.admits`.
        stores: hosts of object stores from which trees may be restored; empty: none.
        kernel_decides: whether the account cannot give files to other users, so that the kernel refuses what is not allowed.
    """

    owner: Owner = Owner()
    setid: bool = False
    trees: Optional[frozenset[bytes]] = None
    symlinks: str = "all"
    kernel_decides: bool = False
    stores: frozenset[str] = frozenset()

    def admit(self, target: bytes, asked: Owner, *, setid: bool) -> Owner:
        """Return the owner to give to what is written to a target.

        Args:
            target: relative to the root.
            asked: the owner that the backend asks for; -1: none.
            setid: whether it asks for setuid and setgid bits.

        Raises:
            NotAllowed: the policy forbids it; the text names the option of `replicator agent` that would allow it.
        """
        if self.trees is not None and target not in self.trees:
            raise NotAllowed("this agent serves other directories (--tree)")
        if setid and not self.setid:
            raise NotAllowed("setuid and setgid bits are not allowed here (--allow-setid)")
        if self.kernel_decides and self.owner == Owner():
            return asked
        users = {self.owner.uid} if self.owner.uid >= 0 else {os.geteuid()}
        groups = {self.owner.gid} if self.owner.gid >= 0 else {os.getegid(), *os.getgroups()}
        if asked.uid not in users | {-1} or asked.gid not in groups | {-1}:
            raise NotAllowed(
                f"files of {asked.uid}:{asked.gid} are not allowed here (--owner, or leave out tree.owner)"
            )
        uid = self.owner.uid if self.owner.uid >= 0 else asked.uid
        gid = self.owner.gid if self.owner.gid >= 0 else asked.gid
        return Owner(uid, gid)
