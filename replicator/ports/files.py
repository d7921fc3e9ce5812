"""What the engine asks of the backend's own disk."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

from replicator.delta.ops import Op
from replicator.model import Entry, Hint, Stamp, Unlisted
from replicator.mounttable import Mount


class Record(NamedTuple):
    """What the catalog knows of one path.

    Attributes:
        path: relative to the tree's root.
        entry: what the source holds; the digest is empty when the content could not be read.
        stamp: the source file's stamp when its content was hashed.
        firm: False while the content was hashed so soon after its last change that a later change might carry the
            same stamp; such a path is hashed again when it is next met.
        problem: why the content could not be read; empty when it was.
        stealthy: True if another content had this size and mtime before: neither tells which one a frontend holds.
    """

    path: bytes
    entry: Entry
    stamp: Stamp
    firm: bool = True
    problem: str = ""
    stealthy: bool = False


class Identity(NamedTuple):
    """Which directory a source's root is.

    Attributes:
        device, inode: as stat(2) tells them. The device number of a volume may be another one after a reboot.
        filesystem: f_fsid of statvfs(3), which ext4 and btrfs make from their UUID, and XFS from the device number; 0 if the file
            system tells none, as NFS does.
    """

    device: int
    inode: int
    filesystem: int = 0

    def differs_from(self, known: Identity | None) -> bool:
        """Return True if this is another directory than the known one; False if none is known."""
        if known is None:
            return False
        if self.filesystem and known.filesystem:
            same_volume = self.filesystem == known.filesystem  # another disk may have its number
        else:
            same_volume = self.device == known.device
        return self.inode != known.inode or not same_volume


class Catalog(Protocol):
    """What one source tree holds now, kept across restarts. Thread-safe; one writer at a time.

    Attributes:
        renaming: held from before a rename is recorded until it has been told. Who reads in order to act upon it takes it,
            or would take for deleted what is only called otherwise, and have it deleted before it is renamed.
    """

    renaming: Lock

    def get(self, paths: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the records of those of `paths` that exist."""

    def scan(self, after: bytes | None, until: bytes | None, limit: int) -> list[Record]:
        """Return at most `limit` records in key order, with `after` < path <= `until` (None: no bound)."""

    def below(self, directory: bytes) -> list[bytes]:
        """Return the paths strictly below `directory`, in key order."""

    def sharing(self, inode: int) -> list[bytes]:
        """Return the recorded paths of an inode, in key order: a file with several names has several."""

    def sharing_below(self, directory: bytes) -> list[bytes]:
        """Return the recorded paths that are not below `directory` of inodes that are, in key order."""

    def apply(
        self,
        records: Sequence[Record],
        gone: Sequence[bytes],
        signatures: Mapping[bytes, bytes | None],
    ) -> None:
        """Store records and forget paths (themselves only), in one durable transaction.

        Args:
            records: what is new.
            gone: paths to forget, with their signatures.
            signatures: packed signatures of recorded versions to keep; None forgets the one that was kept.
        """

    def move(self, source: bytes, target: bytes) -> None:
        """Relabel `source` and all below it as `target`; what was known at or below `target` is forgotten."""

    def signature(self, path: bytes) -> bytes | None:
        """Return the packed signature of the file's recorded version, if one is kept."""

    def counts(self) -> tuple[int, int]:
        """Return how many records there are, and the bytes of all files."""

    def root_identity(self) -> Identity | None:
        """Return which source root this catalog describes; None when it is new."""

    def set_root_identity(self, identity: Identity) -> None:
        """Remember which directory this catalog describes."""

    def paused(self) -> str:
        """Return why deletions are paused; empty if they are not."""

    def pause(self, reason: str, before: int, paths: Iterable[bytes]) -> None:
        """Remember a pause of deletions, in one durable transaction.

        Args:
            reason: why.
            before: how many paths there were before too many were removed.
            paths: removed paths, in addition to those of earlier calls during this pause.
        """

    def unpause(self) -> None:
        """Remember that deletions are not paused, and forget the paths that were withheld."""

    def withheld(self) -> tuple[int, int] | None:
        """Return how many of the paths of `pause` are not recorded now, and its `before`; None if that is unknown."""

    def mounts(self) -> dict[bytes, str]:
        """Return which file systems were mounted below the root when it was last read: path to identity."""

    def set_mounts(self, mounts: Mapping[bytes, str]) -> None:
        """Remember which file systems are mounted below the root."""


class Seen(NamedTuple):
    """A path as it stands in the source right now; the entry has no digest yet, `links` counts its names."""

    path: bytes
    entry: Entry
    stamp: Stamp
    links: int = 1


class Verdict(enum.Enum):
    """How the reading of a file ended."""

    READ = "read"
    GONE = "gone"  # not there any more, or no regular file any more
    BUSY = "busy"  # somebody has it open for writing
    TORN = "torn"  # it changed while it was read
    FAILED = "failed"  # the kernel refused; see `problem`


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One consistent version of a file, read and hashed once.

    Attributes:
        verdict: READ, or why there is no version.
        entry: what was read, with its digest.
        stamp: the file's stamp before and after the reading (they were equal).
        firm: see Record.
        signature: packed signature of this version; None for a file too small to be worth one.
        ops: the delta against the base signature (if one was given), or one Literal with the whole content; None when
            that would hold more than the memory limit, and the content must be streamed from the source instead.
        is_delta: True when `ops` copy from the base.
        problem: text for FAILED.
    """

    verdict: Verdict
    entry: Entry | None = None
    stamp: Stamp | None = None
    firm: bool = True
    signature: bytes | None = None
    ops: list[Op] | None = None
    is_delta: bool = False
    problem: str = ""


class Source(Protocol):
    """One source tree's files. Nothing outside the root is ever opened, no symlink is ever followed.

    Attributes:
        bytes_read: of content, since it was opened.
        files_hashed: how often a file was read whole and hashed.
        exposed: why a user who is not trusted could replace the root, as a clause with the remedy; empty if none could.
    """

    bytes_read: int
    files_hashed: int
    exposed: str

    def check_root(self) -> Identity:
        """Return which directory the root is.

        Raises:
            SourceError: if the path no longer names the directory that was opened, or cannot be read.
        """

    def reopen(self) -> None:
        """Hold whatever directory the path names now; if it is another one, it is in doubt until `set_doubt("")`.

        Raises:
            SourceError: there is none.
        """

    def stop(self) -> None:
        """End what is being read, a walk or a file, with SourceError; called from any thread."""

    def set_doubt(self, reason: str) -> None:
        """Say why the root is in doubt, so that nothing of it is read or held; empty: it was judged, and is believed."""

    def doubt(self, path: bytes) -> str:
        """Return why nothing at and below a path is read or believed gone at present; empty if it is."""

    def duplicate_root(self) -> int:
        """Return a descriptor of the root, which the caller closes.

        Raises:
            SourceError: there is no root.
            OSError: too many files are open.
        """

    def mounts(self) -> dict[bytes, Mount]:
        """Return what is mounted below the root and not excluded, by path.

        Raises:
            SourceError: there is no root.
        """

    def forget_mounts(self) -> None:
        """Read the mount table again: a directory above a mount was renamed, which the kernel does not tell."""

    def set_mounts(self, believed: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Say which mounts below the root are believed, and why others are not: nothing at and below those is read."""

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True if the operator wants a path neither sent nor deleted."""

    def look(self, path: bytes) -> Seen | None:
        """Return what is at `path` now; None when nothing is, or a special file, or something that has no name here.

        Raises:
            OSError: when the kernel does not tell (EACCES on a parent, EIO): the path is in doubt, not gone.
        """

    def snapshot(
        self, path: bytes, base: bytes | None, *, force: bool = False, unclosed: bool = False
    ) -> Snapshot:
        """Read one version of a file in a single pass: digest, signature, and delta against `base`.

        Args:
            path: the file.
            base: packed signature of the version that the frontends hold, if there is one.
            force: take a consistent snapshot even if a writer has the file open.
            unclosed: take none if the kernel does not tell whether a writer has it open.
        """

    def read(self, path: bytes, stamp: Stamp, offset: int, length: int) -> bytes | None:
        """Return `length` bytes at `offset` of the version with this `stamp`; None when that version is no more."""

    def read_whole(self, wanted: Sequence[tuple[bytes, Stamp]]) -> list[bytes | None]:
        """Return the content of small files, in order: for each path of the version with its stamp, as `read`."""

    def walk(self, below: bytes, *, judging: bool = False) -> Iterator[Seen | Unlisted]:
        """Yield all that lies strictly below the directory `below`, in key order (see `model.key`).

        Args:
            below: the directory.
            judging: walk it although it is in doubt; what is in doubt below it is left out all the same.
        """


class Watcher(Protocol):
    """Tells where a tree may have changed.

    Attributes:
        overflows: how often the kernel has lost events, so that the whole tree was to be walked.
    """

    overflows: int

    async def start(self) -> None:
        """Arm the watches; all that changes from now on is told.

        Raises:
            SourceError: if the root cannot be watched at all.
        """

    async def hints(self) -> list[Hint]:
        """Wait for, and return, the next batch of hints."""

    def is_drained(self, since: float) -> bool:
        """Return True if all that the kernel had told at `since`, a time of the loop's clock, was returned by `hints`."""

    def problems(self) -> list[str]:
        """Return full sentences about what is not watched, for status and check."""

    def rescan_every(self, seconds: float) -> None:
        """Walk what cannot be watched at another interval from now on."""

    def close(self) -> None:
        """Release the watches."""
