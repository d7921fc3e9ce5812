"""What looks at the source found, in the order in which it must be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.delta.ops import Op
from replicator.model import FILE
from replicator.ports import Record


@dataclass(frozen=True)
class Update:
    """A path has a new version.

    Attributes:
        record: what it is now.
        before: what the catalog said until now.
        ops: the content, as instructions (see ports.Snapshot); None if it is not carried here.
        is_delta: the instructions copy from the version before.
        twin: another path that has the same content; empty if none is known.
        fresh: the content of the twin was found in the same call, and is told before.
        apart: both names stay, so that the frontend makes a copy; otherwise the twin is about to go, or to change.
    """

    record: Record
    before: Record | None
    ops: list[Op] | None = None
    is_delta: bool = False
    twin: bytes = b""
    fresh: bool = False
    apart: bool = False

    @property
    def same_content(self) -> bool:
        """True for a file of which only attributes changed."""
        entry, before = self.record.entry, self.before
        return (
            before is not None
            and entry.kind == FILE
            and bool(entry.digest)
            and entry.digest == before.entry.digest
        )


class LargeFile(NamedTuple):
    """A file that takes long to read."""

    path: bytes
    force: bool
    size: int


@dataclass
class ScanResult:
    """What one call found, in the order in which it must be told.

    Attributes:
        updates: paths with a new version, parents before children.
        records: what to store without telling: nothing changed but the stamp.
        signatures: packed signatures of the new versions; None for a file too small for one.
        missing: recorded paths with nothing there; they stay recorded until they are believed gone (`Checker.remove`).
        arriving: names of directories that are known by another name, which is missing: the event of the rename may be on its way. With
            what was to be looked at below them.
        gone: paths that are no more, children before parents.
        forgotten: paths that the operator excludes since they were recorded; frontends keep them.
        unsettled: files that are being written, and new names that could not be looked at; to be looked at again.
        large: files to be read ahead, and looked at again then.
        siblings: paths to be looked at again, after a rest; such as other names of a file that changed, because the kernel
            tells only the one that was used.
        unfirm: records to be confirmed once the clock has moved on.
        unlisted: directories that could not be listed; to be walked, if that is over.
        put_off: symlinks that are to be looked at after everything else, because they may lead to what is found meanwhile.
        unread: records of paths that cannot be read, as was known before: to be tried again, and to be told to nobody.
    """

    updates: list[Update] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    signatures: dict[bytes, bytes | None] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)
    arriving: list[bytes] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    unsettled: list[bytes] = field(default_factory=list)
    large: list[LargeFile] = field(default_factory=list)
    siblings: list[bytes] = field(default_factory=list)
    unstable: list[Record] = field(default_factory=list)
    unlisted: list[bytes] = field(default_factory=list)
    put_off: list[bytes] = field(default_factory=list)
    unread: list[Record] = field(default_factory=list)
