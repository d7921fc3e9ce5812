"""Comparison of a frontend with the catalog, and the order of changes.

`Comparison` merges a frontend's listing with the catalog, both in key order, one key range at a time, and yields the paths that
differ by rsync's quick check: kind, size, mtime (rounded to the precision of the frontend's file system), mode, owner. `safe_order`
sorts changes so that each can succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from replicator.core.pending import PendingKind
from replicator.model import DIRECTORY, FILE, Entry, Listed, ancestors, is_below, key
from replicator.wire.changes import Change, Delete, MakeDirectory, MakeSymlink


class Difference(NamedTuple):
    """A path that differs between a frontend and the catalog.

    Attributes:
        path: the path.
        kind: what must be sent.
        size: bytes of content to send at most.
        surplus: True if the path exists only on the frontend.
    """

    path: bytes
    kind: PendingKind
    size: int
    surplus: bool = False


class Known(Protocol):
    """The attributes of a catalog record that a comparison needs; see `ports.Record`."""

    @property
    def path(self) -> bytes:
        """The path, relative to the tree's root."""

    @property
    def entry(self) -> Entry:
        """The entry on the source."""

    @property
    def problem(self) -> str:
        """Why the content could not be read; for a directory, why the paths below it are unknown."""

    @property
    def ambiguous(self) -> bool:
        """True if an earlier version had the same size and mtime, so that they do not identify the content."""


class Comparison:
    """One merge of a listing with the catalog.

    Args:
        excluded: called with (path, kind); returns True for paths that are not replicated and must be left alone.
        bits: mode bits that are replicated.
        owner: (uid, gid) of the frontend's files; -1: not checked.
        delete: yield paths that exist only on the frontend.
        digests: compare contents too; the listing must contain digests.
        granularity: precision of the frontend's modification times in nanoseconds; its file system rounds them down.
        followed: every change since the last comparison of contents is either in the frontend's dirty set or confirmed.
    """

    def __init__(
        self,
        *,
        excluded: Callable[[bytes, str], bool],
        bits: int = 0o7777,
        owner: tuple[int, int] = (-1, -1),
        delete: bool = True,
        digests: bool = False,
        granularity: int = 1,
        followed: bool = False,
    ) -> None:
        self._excluded = excluded
        self._bits = bits
        self._owner = owner
        self._delete = delete
        self._digests = digests
        self._granularity = granularity
        self._followed = followed
        self._unknown: bytes | None = None

    def begin_below(self, above: Iterable[Known]) -> None:
        """Begin a comparison of one directory; `above`: the records of it and of the directories above it.

        What a source directory holds is unknown if one of them could not be listed: then nothing below it is surplus.
        """
        unknown = [known.path for known in above if known.problem and known.entry.kind == DIRECTORY]
        self._unknown = min(unknown, key=len, default=None)

    def differences(self, there: Sequence[Listed], here: Sequence[Known]) -> Iterator[Difference]:
        """Yield the differences in one key range.

        Args:
            there: lines of the frontend's listing, complete for the range, in key order.
            here: catalog records, complete for the same range, in key order.
        """
        others = iter(there)
        other = next(others, None)
        for known in here:
            path, entry = known.path, known.entry
            while other is not None and other.path != path and key(other.path) < key(path):
                yield from self._surplus(other)
                other = next(others, None)
            if known.problem and entry.kind == DIRECTORY:
                self._unknown = path
            if other is not None and other.path == path:
                kind = self._pending_kind(entry, other)
                if known.ambiguous and not self._digests:
                    kind = _content_kind(entry, other.entry)
                other = next(others, None)
            else:
                kind = PendingKind.CONTENT
            if kind is not None:
                yield Difference(path, kind, entry.size if kind > PendingKind.ATTRIBUTES else 0)
        while other is not None:
            yield from self._surplus(other)
            other = next(others, None)

    def _surplus(self, line: Listed) -> Iterator[Difference]:
        is_unknown = self._unknown is not None and is_below(line.path, self._unknown)
        if self._delete and not is_unknown and not self._excluded(line.path, line.entry.kind):
            yield Difference(line.path, PendingKind.CONTENT, 0, surplus=True)

    def _pending_kind(self, ours: Entry, line: Listed) -> PendingKind | None:
        theirs = line.entry
        if ours.kind != theirs.kind or ours.size != theirs.size or ours.link != theirs.link:
            return _content_kind(ours, theirs)
        if self._digests and ours.digest and ours.digest != theirs.digest:
            return _content_kind(ours, theirs)
        if ours.mtime_ns != theirs.mtime_ns and not self._is_rounded(ours, theirs):
            return PendingKind.ADOPT if ours.kind == FILE else PendingKind.CONTENT
        uid, gid = self._owner
        if (
            (ours.mode ^ theirs.mode) & self._bits
            or uid not in (-1, line.uid)
            or gid not in (-1, line.gid)
        ):
            return PendingKind.ATTRIBUTES
        return None

    def _is_rounded(self, ours: Entry, theirs: Entry) -> bool:
        """Return True if the frontend's time is ours rounded down, and that proves that the frontend has our version.

        Two versions of a file that were written within one granule have the same time on the frontend. The rounded time is proof only
        if contents are compared, or if `followed`: a frontend with the earlier version would have the path in its dirty set.
        """
        if ours.kind == FILE and not (self._followed or (self._digests and ours.digest)):
            return False
        return theirs.mtime_ns == ours.mtime_ns // self._granularity * self._granularity


def _content_kind(ours: Entry, theirs: Entry) -> PendingKind:
    """Return what must be sent where contents differ."""
    return PendingKind.DELTA if ours.kind == theirs.kind == FILE else PendingKind.CONTENT


def safe_order(changes: Sequence[Change]) -> list[Change]:
    """Return the changes in an order in which each can succeed.

    Directories come before their contents, and symlinks after all other puts, because they may point to them. Deletes follow, the
    deepest first. Exception: where a directory is replaced by another kind of entry, the paths below it are deleted first.
    """
    puts = sorted((c for c in changes if not isinstance(c, Delete)), key=_place)
    puts.sort(key=lambda change: isinstance(change, MakeSymlink))
    deletes = sorted((c for c in changes if isinstance(c, Delete)), key=_place, reverse=True)
    solid = {(c.tree, c.path) for c in puts if not isinstance(c, MakeDirectory)}
    first = [c for c in deletes if any((c.tree, above) in solid for above in ancestors(c.path))]
    if not first:
        return [*puts, *deletes]
    early = set(first)
    return [*first, *puts, *(c for c in deletes if c not in early)]


def _place(change: Change) -> tuple[int, bytes]:
    return change.tree, key(change.path)
