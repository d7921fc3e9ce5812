"""What a check or a scan found, in the order in which it must be published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.delta.ops import Op
from replicator.model import FILE, Stamp
from replicator.ports import Record


@dataclass(frozen=True)
class Update:
    """A path has a new version.

    Attributes:
        record: the new record.
        before: the record until now.
        ops: the content, as instructions (see ports.Snapshot); None if it is not carried here.
        is_delta: the instructions copy from the version before.
        same_content_as: another path that has the same content; empty if none is known.
        fresh: the content of that path was found in the same call, and is published before.
        both_stay: both names stay, so that the frontend makes a copy; otherwise the other path is about to be deleted or changed.
    """

    record: Record
    before: Record | None
    ops: list[Op] | None = None
    is_delta: bool = False
    same_content_as: bytes = b""
    fresh: bool = False
    both_stay: bool = False

    @property
    def is_content_unchanged(self) -> bool:
        """True for a file of which only attributes changed."""
        entry, before = self.record.entry, self.before
        return (
            before is not None
            and entry.kind == FILE
            and bool(entry.digest)
            and entry.digest == before.entry.digest
        )


class LargeFile(NamedTuple):
    """A file to be read in the background."""

    path: bytes
    force: bool
    size: int


@dataclass
class ScanResult:
    """What one chunk of a check or of a scan found.

    Attributes:
        updates: paths with a new version, parents before children.
        gone: deleted paths, children before parents.
        records: records to store without publishing: nothing changed but the stamp.
        forgotten: paths that the operator excluded after they were recorded; they are removed from the catalog, and frontends keep them.
        signatures: packed signatures of the new versions; None for a file that is too small for one.
        missing: recorded paths where nothing was found; they stay recorded until their deletion is confirmed (`CatalogWriter.remove`).
        arriving: new directories that are recorded by another name, which is missing: the event of the rename may be on its way. With
            them the paths below that were to be checked.
        unsettled: files that are being written, and new names that could not be checked; to be checked again.
        large: files to be read in the background and then checked.
        siblings: paths to be checked again after their cooldown, such as other names of a file that changed: the kernel reports only
            the name that was used.
        unstable: records to be confirmed when the clock has advanced.
        unlisted: directories that could not be listed until now; to be scanned.
        put_off: symlinks to be checked after everything else, because they may lead to files that are found meanwhile; with the
            stamps that they have.
        unread: records of paths that cannot be read, as before; to be tried again, not to be published.
        is_last: no further chunk follows. The caller need not ask for one, which saves a switch of threads.
    """

    updates: list[Update] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    signatures: dict[bytes, bytes | None] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)
    arriving: list[bytes] = field(default_factory=list)
    unsettled: list[bytes] = field(default_factory=list)
    large: list[LargeFile] = field(default_factory=list)
    siblings: list[bytes] = field(default_factory=list)
    unstable: list[Record] = field(default_factory=list)
    unlisted: list[bytes] = field(default_factory=list)
    put_off: dict[bytes, Stamp] = field(default_factory=dict)
    unread: list[Record] = field(default_factory=list)
    is_last: bool = False
