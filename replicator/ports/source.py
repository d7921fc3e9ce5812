"""Interfaces to a source tree: its root, its files, and the watcher of its changes."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from replicator.delta.ops import Op
from replicator.model import Entry, Hint, Stamp, Unlisted
from replicator.mounttable import Mount


class Identity(NamedTuple):
    """Identity of the directory that is a source's root.

    Attributes:
        device: st_dev of stat(2). It may change with a reboot.
        inode: st_ino of stat(2).
        filesystem: f_fsid of statvfs(3), which ext4 and btrfs derive from their UUID, and XFS from the device number; 0 if the file
            system has none, as NFS.
    """

    device: int
    inode: int
    filesystem: int = 0

    def differs_from(self, known: Identity | None) -> bool:
        """Return True if this is another directory than `known`; False if `known` is None."""
        if known is None:
            return False
        if self.filesystem and known.filesystem:
            same_volume = self.filesystem == known.filesystem  # device numbers are reused
        else:
            same_volume = self.device == known.device
        return self.inode != known.inode or not same_volume


class Seen(NamedTuple):
    """A path as found on the source.

    Attributes:
        path: relative to the tree's root.
        entry: what is there, without a digest.
        stamp: its stamp.
        links: number of hard links.
    """

    path: bytes
    entry: Entry
    stamp: Stamp
    links: int = 1


class Verdict(enum.Enum):
    """Outcome of reading a file."""

    READ = "read"
    GONE = "gone"  # it was removed, or is no longer a regular file
    BUSY = "busy"  # a process has it open for writing
    TORN = "torn"  # it changed during the read
    FAILED = "failed"  # a system call failed; see `problem`


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One consistent version of a file, read and hashed once.

    Attributes:
        verdict: READ, or why no version could be read.
        entry: what was read, with its digest.
        stamp: the file's stamp before the read.
        stable: see Record.
        signature: packed signature of this version; None for a file too small to need one.
        ops: the delta against the base signature if one was given, or Literals with the whole content; None if that would exceed the
            memory limit: the content must then be streamed from the source.
        is_delta: True if `ops` copy from the base.
        problem: error text for FAILED.
    """

    verdict: Verdict
    entry: Entry | None = None
    stamp: Stamp | None = None
    stable: bool = True
    signature: bytes | None = None
    ops: list[Op] | None = None
    is_delta: bool = False
    problem: str = ""


class Source(Protocol):
    """The files of one source tree. Nothing outside the root is opened, and below the root no symlink is followed.

    A path is untrusted while the root, or the mount that holds it, may be the wrong volume. Nothing at or below an untrusted path is
    read, and nothing missing there counts as deleted.

    Attributes:
        bytes_read: bytes of content read since the start.
        files_hashed: number of files read completely and hashed since the start.
        exposed: how an untrusted user could replace the root, as a clause with the remedy; empty if none could.
    """

    bytes_read: int
    files_hashed: int
    exposed: str

    def check_root(self) -> Identity:
        """Return the identity of the root.

        Raises:
            SourceError: if the path no longer names the directory that was opened, or cannot be read.
        """

    def reopen(self) -> None:
        """Open the directory that the root's path names now; if it is another one, it is untrusted until `set_doubt("")`.

        Raises:
            SourceError: if there is no such directory.
        """

    def stop(self) -> None:
        """Make running reads and walks raise SourceError. May be called from any thread."""

    def set_doubt(self, reason: str) -> None:
        """Mark the root as untrusted for a reason, and close it; an empty reason marks it as trusted."""

    def doubt(self, path: bytes) -> str:
        """Return why a path is untrusted; empty if it is trusted."""

    def duplicate_root(self) -> int:
        """Return a new descriptor of the root, which the caller must close.

        Raises:
            SourceError: if the root is not open.
            OSError: if too many files are open.
        """

    def mounts(self) -> dict[bytes, Mount]:
        """Return the mounts below the root by path, without excluded ones.

        Raises:
            SourceError: if the root is not open.
        """

    def forget_mounts(self) -> None:
        """Discard the cached mount table: a directory above a mount was renamed, which the kernel does not notify."""

    def set_mounts(self, accepted: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Set the trusted mounts below the root, and the reasons why others are untrusted."""

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True if the operator's patterns exclude a path: it is neither sent nor deleted."""

    def stat(self, path: bytes) -> Seen | None:
        """Return what is at `path` now; None if there is nothing, a special file, or a name that is not replicated.

        Raises:
            OSError: if that cannot be determined (EACCES on a parent, EIO); the path must not count as deleted.
        """

    def why_left_out(self, path: bytes) -> str:
        """Return why what is at `path` now is not replicated, as a clause; empty if it is replicated, or if there is nothing.

        Raises:
            OSError: if that cannot be determined.
        """

    def snapshot(
        self, path: bytes, base: bytes | None, *, force: bool = False, unclosed: bool = False
    ) -> Snapshot:
        """Read one version of a file in a single pass: digest, signature, and delta against `base`.

        Args:
            path: the file.
            base: packed signature of the version that the frontends hold; None: make no delta.
            force: take a consistent snapshot even if a process has the file open for writing.
            unclosed: return BUSY if the kernel cannot tell whether a process has the file open for writing.
        """

    def read(self, path: bytes, stamp: Stamp, offset: int, length: int) -> bytes | None:
        """Return `length` bytes at `offset` of the version with this `stamp`; None if the file has changed since."""

    def read_whole(self, wanted: Sequence[tuple[bytes, Stamp]]) -> list[bytes | None]:
        """Return the contents of small files in order; None for each file that no longer has the given stamp."""

    def walk(self, below: bytes, *, judging: bool = False) -> Iterator[Seen | Unlisted]:
        """Yield everything strictly below the directory `below`, in key order (see `model.key`).

        Args:
            below: the directory.
            judging: walk it although it is untrusted; untrusted mounts below it are left out nevertheless.
        """


class Watcher(Protocol):
    """Reports where a tree may have changed.

    Attributes:
        overflows: number of times that the kernel has dropped events; each requires a full scan.
    """

    overflows: int

    async def start(self) -> None:
        """Add the watches. Changes after this call are reported by `hints`.

        Raises:
            SourceError: if the root cannot be watched.
        """

    async def hints(self) -> list[Hint]:
        """Wait for the next batch of hints, and return it."""

    def is_drained(self, since: float) -> bool:
        """Return True if `hints` has returned every event that was in the kernel's queue at `since`, a time of the loop's clock."""

    def problems(self) -> list[str]:
        """Return full sentences about directories that are not watched, for `status` and `check`."""

    def unheard_files(self) -> list[bytes]:
        """Return the files whose changes `hints` does not report at once: each is mounted by itself, from outside of the tree."""

    def watches(self) -> tuple[int, int | None]:
        """Return the number of watches in use, and the kernel's limit for all programs of the user; None: unknown."""

    def rescan_every(self, seconds: float) -> None:
        """Change the interval at which directories without a watch are scanned."""

    def close(self) -> None:
        """Release the watches."""
