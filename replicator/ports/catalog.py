"""Interface to the catalog: what each source tree holds, as of its last check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple, Protocol

from replicator.model import Entry, Stamp
from replicator.ports.source import Identity

BEING_READ = "is being read"
BEING_WRITTEN = "is being written"
PASSING = (BEING_READ, BEING_WRITTEN)
"""Values of `Record.problem` that end by themselves."""


class Record(NamedTuple):
    """One path in the catalog.

    Attributes:
        path: relative to the tree's root.
        entry: what the source holds; the digest is empty when the content could not be read.
        stamp: the source file's stamp when its content was hashed.
        stable: False if the content was hashed so soon after its last change that a later change might have the same stamp
            (git calls such entries racy); the path is hashed again at its next check.
        problem: why the content could not be read; empty if it was.
        ambiguous: True if an earlier content had the same size and mtime, so that these do not tell which one a frontend holds.
    """

    path: bytes
    entry: Entry
    stamp: Stamp
    stable: bool = True
    problem: str = ""
    ambiguous: bool = False


NOTHING = ""
"""A value of `Child.kind`."""


class Child(NamedTuple):
    """What a comparison looks at of one entry that a directory directly holds.

    Attributes:
        name: its name in the directory.
        kind: FILE, DIRECTORY or SYMLINK; NOTHING if entries are recorded below the name, but no directory with the name.
        mode: permission bits.
        size: bytes of content, of a file.
        mtime_ns: modification time.
        link: target of a symlink.
        is_known: False if that does not tell whether a frontend has it: for NOTHING, and see `Record.ambiguous`.
    """

    name: bytes
    kind: str
    mode: int
    size: int
    mtime_ns: int
    link: bytes
    is_known: bool


class DirectoryDigests(Protocol):
    """The digests of a tree's directories (see `wire.digests`), which a catalog keeps for all frontends. Thread-safe."""

    def begin(self, bits: int) -> int:
        """Return the number of the round that a comparison with these mode bits has to wait for."""

    def is_made(self, bits: int) -> bool:
        """Return True if a round reads only what has changed."""

    def refresh(self, number: int) -> bool:
        """Read for a few milliseconds; return True once the round with that number has ended.

        Raises:
            SourceError: if the catalog cannot be read.
        """

    def find(self, paths: Iterable[bytes], bits: int) -> dict[bytes, bytes]:
        """Return the digests of those of `paths` that are directories; empty for one that has none."""


class Catalog(Protocol):
    """Persistent record of one source tree. Thread-safe; writes are serialized.

    Attributes:
        renaming: lock that the writer of a rename holds until the rename was queued for the frontends. A caller that reads the catalog
            to decide about changes must hold it. Otherwise it would find nothing under the old name, and delete there before the
            frontend has renamed.
    """

    renaming: Lock

    @property
    def digests(self) -> DirectoryDigests:
        """The digests of the directories."""

    def get(self, paths: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the records of `paths`, without those that are not recorded."""

    def scan(self, after: bytes | None, until: bytes | None, limit: int) -> list[Record]:
        """Return at most `limit` records in key order, with `after` < path <= `until` (None: no bound)."""

    def children(self, directory: bytes, after: Child | None, limit: int) -> list[Child]:
        """Return at most `limit` entries that a directory directly holds, in the order of their names, after `after` (None: from the first)."""

    def below(self, directory: bytes) -> list[bytes]:
        """Return the paths strictly below `directory`, in key order."""

    def parents_among(self, paths: Sequence[bytes]) -> set[bytes]:
        """Return those of `paths` that have entries below them."""

    def sharing(self, inode: int) -> list[bytes]:
        """Return the recorded paths with this inode number, in key order: several if the file has hard links."""

    def sharing_below(self, directory: bytes) -> list[bytes]:
        """Return the paths outside `directory` that are hard links of files below it, in key order."""

    def apply(
        self,
        records: Sequence[Record],
        gone: Sequence[bytes],
        signatures: Mapping[bytes, bytes | None],
    ) -> None:
        """Store records and remove paths (not what is below them), in one durable transaction.

        Args:
            records: records to insert or replace.
            gone: paths to remove, with their signatures.
            signatures: packed signatures to store, by path; None removes the stored one.
        """

    def move(self, source: bytes, target: bytes) -> None:
        """Rename `source` and everything below it to `target`; records at or below `target` are removed first."""

    def signature(self, path: bytes) -> bytes | None:
        """Return the packed signature of the file's recorded version; None if none is stored."""

    def counts(self) -> tuple[int, int]:
        """Return the number of records, and the total size of all files in bytes."""

    def version(self) -> int:
        """Return a number that differs after each change of the records, until the end of this process."""

    def root_identity(self) -> Identity | None:
        """Return the identity of the root that this catalog describes; None if the catalog is new."""

    def set_root_identity(self, identity: Identity) -> None:
        """Store the identity of the root that this catalog describes."""

    def paused(self) -> str:
        """Return why deletions are paused; empty if they are not."""

    def pause(self, reason: str, before: int, paths: Iterable[bytes]) -> None:
        """Store that deletions are paused, in one durable transaction.

        Args:
            reason: why; shown to the operator.
            before: number of paths in the tree before the deletions.
            paths: deleted paths, in addition to those of earlier calls during this pause.
        """

    def unpause(self) -> None:
        """Store that deletions are not paused, and remove the paths that were passed to `pause`."""

    def withheld(self) -> tuple[int, int] | None:
        """Return how many of the paths passed to `pause` are still missing, and its `before`; None if that is unknown."""

    def withheld_samples(self, most: int) -> list[bytes]:
        """Return at most `most` of the paths passed to `pause` that are still missing."""

    def mounts(self) -> dict[bytes, str]:
        """Return the mounts below the root as of the last `set_mounts`: path to file system identity."""

    def set_mounts(self, mounts: Mapping[bytes, str]) -> None:
        """Store the mounts below the root."""
