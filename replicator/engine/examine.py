"""Follows up hints: looks at the source, brings the catalog up to it, and says what changed.

Runs in a worker thread, one call at a time for a tree. Whatever it finds is stored in the catalog before it is told, so a
daemon that dies in between finds the difference again when it reconciles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from replicator.core import guard
from replicator.delta.ops import Literal, Op
from replicator.engine.known import Ahead, records_below, same
from replicator.errors import SourceError
from replicator.model import (
    DIRECTORY,
    FILE,
    MAX_DEPTH,
    MAX_PATH,
    ROOT,
    Entry,
    Stamp,
    Unlisted,
    key,
)
from replicator.ports import Catalog, Record, Seen, Snapshot, Source, Verdict

CHUNK_PATHS = 64
CHUNK_BYTES = 8 << 20
"""A chunk is told as soon as it has so many paths or so much content: bounds memory, and lets sending overlap reading."""

LARGE = 64 << 20
"""Bytes: reading more takes longer than everybody else should wait, so it is done beside them."""

_NO_STAMP = Stamp(-1, -1, -1, -1)


@dataclass(frozen=True)
class Update:
    """A path has a new version.

    Attributes:
        record: what it is now.
        before: what the catalog said until now.
        ops: the content, as instructions (see ports.Snapshot); None if it is not carried here.
        is_delta: the instructions copy from the version before.
    """

    record: Record
    before: Record | None
    ops: list[Op] | None = None
    is_delta: bool = False

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


@dataclass
class Findings:
    """What one call found, in the order in which it must be told.

    Attributes:
        updates: paths with a new version, parents before children.
        records: what to store without telling: nothing changed but the stamp.
        signatures: packed signatures of the new versions; None for a file too small for one.
        gone: paths that are no more, children before parents.
        forgotten: paths that the operator excludes since they were recorded; frontends keep them.
        unsettled: files that are being written; to be looked at again.
        large: files to be read ahead, and looked at again then.
        siblings: paths to be looked at again, after a rest; such as other names of a file that changed, because the kernel
            tells only the one that was used.
        unfirm: records to be confirmed once the clock has moved on.
        unlisted: directories that could not be listed; to be walked, if that is over.
    """

    updates: list[Update] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    signatures: dict[bytes, bytes | None] = field(default_factory=dict)
    gone: list[bytes] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    unsettled: list[bytes] = field(default_factory=list)
    large: list[tuple[bytes, bool]] = field(default_factory=list)
    siblings: list[bytes] = field(default_factory=list)
    unfirm: list[Record] = field(default_factory=list)
    unlisted: list[bytes] = field(default_factory=list)


class Examiner:
    """Looks at one tree.

    Args:
        source: the files.
        catalog: what was known of them.

    Attributes:
        defers: whoever calls looks again: at large files, which are read ahead (`Findings.large`) so that no look takes
            long, and at directories that are missed for the first time.
    """

    def __init__(self, source: Source, catalog: Catalog) -> None:
        self.defers = False
        self._source = source
        self._catalog = catalog
        self._missed: set[bytes] = set()
        self._ahead: dict[bytes, tuple[Snapshot, bytes | None]] = {}

    def read_ahead(self, path: bytes, *, force: bool) -> None:
        """Read a large file for the next look at it; the one call that may run beside all others.

        Raises:
            SourceError: the tree is not read any more.
        """
        base = self._base(path, self._catalog.get([path]).get(path))
        self._ahead[path] = self._source.snapshot(path, base, force=force), base

    def _base(self, path: bytes, record: Record | None) -> bytes | None:
        known = record is not None and record.entry.digest
        return self._catalog.signature(path) if known else None

    def examine(self, paths: Iterable[bytes], *, force: bool = False) -> Iterator[Findings]:
        """Look at paths (and, where a directory is gone, below), chunk by chunk.

        Raises:
            SourceError: the root is in doubt; nothing of the chunk was stored.
        """
        ordered = sorted(set(paths), key=key)
        for start in range(0, len(ordered), CHUNK_PATHS):
            chunk = ordered[start : start + CHUNK_PATHS]
            records = self._catalog.get(chunk)
            findings, size = Findings(), 0
            for path in chunk:
                size += self._look(path, records.get(path), findings, force=force)
                if size > CHUNK_BYTES:
                    yield self._store(findings)
                    findings, size = Findings(), 0
            yield self._store(findings)

    def survey(self, below: bytes, *, believed: bool = False) -> Iterator[Findings]:
        """Walk a directory and look at every path below it where source and catalog differ at first sight.

        What has vanished is looked at last, when it is known how much that is. Below a directory that cannot be listed
        nothing is touched. With `believed`, a person has said that the source is right as it is.

        Raises:
            SourceError: the root is in doubt, or has lost everything that was known.
        """
        differing: list[bytes] = []
        vanished: list[bytes] = []
        listed = [below] if below else []
        known = Ahead(records_below(self._catalog, below))
        met = 0
        for seen in self._source.walk(below):
            if isinstance(seen, Unlisted):
                vanished.extend(known.before(seen.path))
                known.at(seen.path)
                known.skip_below(seen.path)
                for hasty in (listed, differing):
                    if hasty and hasty[-1] == seen.path:
                        hasty.pop()
                yield self._unlisted(seen)
                continue
            met += 1
            vanished.extend(known.before(seen.path))
            record = known.at(seen.path)
            if record is not None and _is_unlisted(record) and seen.entry.kind == DIRECTORY:
                listed.append(seen.path)
                record = record._replace(problem="")
            if record is None or not same(record, seen):
                differing.append(seen.path)
            if len(differing) >= CHUNK_PATHS:
                yield from self.examine(differing)
                differing.clear()
        vanished.extend(known.rest())
        yield from self.examine(differing)
        yield self._listed(listed)
        if below == ROOT:
            self._judge(known.count, met, len(vanished), believed=believed)
        yield from self.examine([below] if vanished and self._is_missing(below) else vanished)

    def _is_missing(self, directory: bytes) -> bool:
        """Return True if what was walked is not there (any more), and is to be missed once before it is believed gone."""
        try:
            return self.defers and directory != ROOT and self._source.look(directory) is None
        except OSError:
            return False

    def _judge(self, known: int, met: int, vanished: int, *, believed: bool) -> None:
        """Refuse a full walk's result if the source is in doubt; else remember which directory it was."""
        identity = self._source.check_root()
        replaced = self._catalog.root_identity() not in (None, identity)
        doubt = guard.doubt(known=known, met=met, vanished=vanished, replaced=replaced)
        if doubt and not believed:
            raise SourceError(doubt)
        self._catalog.set_root_identity(identity)

    def _unlisted(self, found: Unlisted) -> Findings:
        """Record that a directory's content is unknown: nothing below it is deleted until it can be listed again."""
        if found.path == ROOT:
            raise SourceError(f"the source cannot be listed: {found.reason}")
        record = self._catalog.get([found.path]).get(found.path)
        findings = Findings()
        self._look(found.path, record, findings, force=False)  # perhaps it is no directory any more
        findings.unlisted.clear()
        latest = next((update.record for update in findings.updates), record)
        lost = findings.gone or findings.forgotten
        if (
            latest
            and latest.entry.kind == DIRECTORY
            and not lost
            and latest.problem != found.reason
        ):
            findings.updates = [Update(latest._replace(problem=found.reason), record)]
        return self._store(findings)

    def _listed(self, paths: Iterable[bytes]) -> Findings:
        """Record that directories have been listed after all."""
        records = self._catalog.get(list(paths)).values()
        findings = Findings()
        findings.updates += [
            Update(record._replace(problem=""), record)
            for record in records
            if _is_unlisted(record)
        ]
        return self._store(findings)

    def relabel(self, source: bytes, target: bytes) -> list[bytes]:
        """Know `source`, and all below it, as `target`; return what stood in the way there, children before parents.

        A directory cannot be renamed over something, nor something over a directory: what was there goes first.

        Raises:
            SourceError: the root is in doubt; nothing was done.
        """
        self._source.check_root()
        records = self._catalog.get([source, target])
        over = records.get(target)
        in_the_way: list[bytes] = []
        if over is not None and DIRECTORY in (over.entry.kind, records[source].entry.kind):
            in_the_way = [*reversed(self._catalog.below(target)), target]
        self._catalog.move(source, target)
        self._missed.discard(source)
        return in_the_way

    def can_relabel(self, source: bytes, target: bytes) -> bool:
        """Return True if `source` is known, and all below it would still be a path as `target`."""
        if source not in self._catalog.get([source]):
            return False
        longer, deeper = len(target) - len(source), target.count(b"/") - source.count(b"/")
        if longer <= 0 and deeper <= 0:
            return True
        return all(
            len(path) + longer <= MAX_PATH and path.count(b"/") + deeper < MAX_DEPTH
            for path in [source, *self._catalog.below(source)]
        )

    def confirm(self, records: Iterable[Record]) -> None:
        """Believe stamps that were too fresh when they were taken, if they are still the same."""
        firm = []
        unfirm = list(records)
        current = self._catalog.get([record.path for record in unfirm])
        for record in unfirm:
            seen = self._source.look(record.path)
            if (
                current.get(record.path) == record
                and seen is not None
                and seen.stamp == record.stamp
            ):
                firm.append(record._replace(firm=True))
        self._catalog.apply(firm, (), {})

    def _look(self, path: bytes, record: Record | None, findings: Findings, *, force: bool) -> int:
        """Look at one path; return the bytes of content that were kept."""
        if path == ROOT:
            self._source.check_root()
            return 0
        ahead = self._ahead.pop(path, None)
        try:
            seen = self._source.look(path)
        except OSError as error:
            self._in_doubt(record, error.strerror or str(error), findings)
            return 0
        if seen is None:
            self._vanished(path, record, findings)
            return 0
        self._missed.discard(path)
        if record is not None and record.entry.kind == DIRECTORY and seen.entry.kind != DIRECTORY:
            findings.gone.extend(reversed(self._catalog.below(path)))
        if seen.entry.kind == FILE:
            if ahead is None and self.defers and seen.entry.size > LARGE:
                return self._defer(seen, record, findings, force=force)
            return self._look_at_file(seen, record, findings, force=force, ahead=ahead)
        problem = ""
        if record is not None and _is_unlisted(record) and seen.entry.kind == DIRECTORY:
            problem = record.problem  # until a walk has seen that it is over
            findings.unlisted.append(path)
        if (
            record is None
            or record.problem != problem
            or not same(record._replace(problem=""), seen)
        ):
            fresh = Record(path, seen.entry, seen.stamp, problem=problem)
            findings.updates.append(Update(fresh, record))
        return 0

    def _defer(self, seen: Seen, record: Record | None, findings: Findings, *, force: bool) -> int:
        """Leave a file that takes long to be read beside everything else."""
        if record is None or not same(record, seen):
            findings.large.append((seen.path, force))
            self._known_to_exist(seen, record, "is being read", findings)
        return 0

    def _known_to_exist(
        self, seen: Seen, record: Record | None, why: str, findings: Findings
    ) -> None:
        """Record a new file before its content is known, so that no reconcile takes it for deleted."""
        if record is None:
            findings.updates.append(
                Update(Record(seen.path, seen.entry, _NO_STAMP, problem=why), None)
            )

    def _look_at_file(
        self,
        seen: Seen,
        record: Record | None,
        findings: Findings,
        *,
        force: bool,
        ahead: tuple[Snapshot, bytes | None] | None,
    ) -> int:
        if record is not None:
            if same(record, seen):
                return 0
            self._siblings(seen.path, record.stamp.inode, findings)
        base = self._base(seen.path, record)
        if ahead is None:
            snapshot = self._source.snapshot(seen.path, base, force=force)
        else:
            snapshot = self._still_good(ahead, base)
            if snapshot.stamp not in (seen.stamp, None):
                findings.siblings.append(seen.path)  # it has changed since; it rests first
        if snapshot.verdict is Verdict.FAILED:
            entry = seen.entry._replace(digest=b"")
            failed = Record(seen.path, entry, _NO_STAMP, problem=snapshot.problem)
            findings.updates.append(Update(failed, record))
        elif snapshot.verdict is not Verdict.READ:
            findings.unsettled.append(seen.path)
            self._known_to_exist(seen, record, "is being written", findings)
        else:
            if seen.links > 1:
                self._siblings(seen.path, seen.stamp.inode, findings)
            return self._took(seen.path, snapshot, record, findings)
        return 0

    @staticmethod
    def _still_good(ahead: tuple[Snapshot, bytes | None], base: bytes | None) -> Snapshot:
        """Return what was read ahead; without its delta if the version below it was replaced meanwhile."""
        snapshot, former = ahead
        if snapshot.is_delta and former != base:
            return replace(snapshot, ops=None, is_delta=False)
        return snapshot

    def _siblings(self, path: bytes, inode: int, findings: Findings) -> None:
        """Note the other names of a file, which may have changed under this one, before it went or was replaced."""
        findings.siblings.extend(name for name in self._catalog.sharing(inode) if name != path)

    def _took(
        self, path: bytes, snapshot: Snapshot, record: Record | None, findings: Findings
    ) -> int:
        assert snapshot.entry is not None  # what READ means
        assert snapshot.stamp is not None
        stealthy = record is not None and _is_stealthy(record, snapshot.entry)
        taken = Record(path, snapshot.entry, snapshot.stamp, snapshot.firm, stealthy=stealthy)
        if not snapshot.firm:
            findings.unfirm.append(taken)
        if record is not None and record.entry == taken.entry and not record.problem:
            findings.records.append(taken)
            return 0
        findings.updates.append(Update(taken, record, snapshot.ops, snapshot.is_delta))
        findings.signatures[path] = snapshot.signature
        return sum(len(op.data) for op in snapshot.ops or () if isinstance(op, Literal))

    def _vanished(self, path: bytes, record: Record | None, findings: Findings) -> None:
        if record is None:  # a rename may have put something below it before it was met itself
            findings.gone.extend(reversed(self._catalog.below(path)))
            return
        if record.entry.kind == FILE:
            self._siblings(path, record.stamp.inode, findings)
        below = self._catalog.below(path) if record.entry.kind == DIRECTORY else []
        if below and self.defers and path not in self._missed:
            # Perhaps renamed once more, and we have yet to read of it: its content shall go along, not go.
            self._missed.add(path)
            findings.siblings.append(path)
            return
        self._missed.discard(path)
        excluded = self._source.excluded(path, record.entry.kind)
        lost = findings.forgotten if excluded else findings.gone
        lost.extend(reversed(below))
        lost.append(path)

    def _in_doubt(self, record: Record | None, reason: str, findings: Findings) -> None:
        """The kernel does not say what is there: what the frontends have stays, and the reason is shown."""
        if record is not None and record.problem != reason:
            findings.updates.append(Update(record._replace(problem=reason), record))

    def _store(self, findings: Findings) -> Findings:
        if findings.gone:
            self._source.check_root()  # a vanished root makes everything look deleted
            findings.gone = list(dict.fromkeys(findings.gone))
        records = [update.record for update in findings.updates] + findings.records
        self._catalog.apply(records, findings.gone + findings.forgotten, findings.signatures)
        return findings


def _is_stealthy(record: Record, entry: Entry) -> bool:
    """Return True if a content has changed, now or before, while size and mtime stayed as they are."""
    was = record.entry
    alike = was.kind == entry.kind and was.size == entry.size and was.mtime_ns == entry.mtime_ns
    return alike and (record.stealthy or (bool(was.digest) and was.digest != entry.digest))


def _is_unlisted(record: Record) -> bool:
    """Return True for a directory of whose content nothing is known."""
    return record.entry.kind == DIRECTORY and bool(record.problem)
