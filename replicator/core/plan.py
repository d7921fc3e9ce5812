"""What must be done to a frontend, decided without doing it.

`Comparison` merges a frontend's listing with the catalog, both in key order, a stretch at a time, and says which paths
differ (rsync's quick check: kind, size, mtime as exactly as the frontend keeps it, mode, owner). `safe_order` puts changes of
many paths into an order in which each can succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from replicator.core.debts import Owed
from replicator.model import DIRECTORY, FILE, Entry, Listed, ancestors, is_below, key
from replicator.wire.changes import Change, Delete, MakeDirectory, MakeSymlink


class Difference(NamedTuple):
    """A path that a frontend does not hold as the catalog says; `size` is the bytes that it may cost.

    A `surplus` is on the frontend alone.
    """

    path: bytes
    owed: Owed
    size: int
    surplus: bool = False


class Known(Protocol):
    """What must be known of a path here; a `ports.Record` is one."""

    @property
    def path(self) -> bytes:
        """Where."""

    @property
    def entry(self) -> Entry:
        """What is there."""

    @property
    def problem(self) -> str:
        """Why its content is not known. Of a directory: what lies below it is not."""

    @property
    def stealthy(self) -> bool:
        """True if size and mtime do not tell which content it is."""


class Comparison:
    """One merge of a listing with the catalog.

    Args:
        excluded: says whether a path (with its kind) is none of ours; such paths are left alone.
        bits: the mode bits that are replicated.
        owner: (uid, gid) that the frontend's files shall have; -1 where it does not matter.
        delete: whether what only the frontend has shall go.
        digests: compare contents too; the listing must have been made with digests.
        granularity: nanoseconds to which the frontend's file system rounds modification times down.
        followed: the frontend is owed, or has confirmed, all that changed since its contents were compared.
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

    def differences(self, there: Sequence[Listed], here: Sequence[Known]) -> Iterator[Difference]:
        """Yield the differences of one stretch: both sequences are complete between the same two keys, and sorted."""
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
                owed = self._owed(entry, other)
                if known.stealthy and not self._digests:
                    owed = Owed.CONTENT
                other = next(others, None)
            else:
                owed = Owed.CONTENT
            if owed is not None:
                yield Difference(path, owed, entry.size if owed > Owed.ATTRIBUTES else 0)
        while other is not None:
            yield from self._surplus(other)
            other = next(others, None)

    def _surplus(self, line: Listed) -> Iterator[Difference]:
        in_doubt = self._unknown is not None and is_below(line.path, self._unknown)
        if self._delete and not in_doubt and not self._excluded(line.path, line.entry.kind):
            yield Difference(line.path, Owed.CONTENT, 0, surplus=True)

    def _owed(self, ours: Entry, line: Listed) -> Owed | None:
        theirs = line.entry
        if ours.kind != theirs.kind or ours.size != theirs.size or ours.link != theirs.link:
            return Owed.CONTENT
        if self._digests and ours.digest and ours.digest != theirs.digest:
            return Owed.CONTENT
        if ours.mtime_ns != theirs.mtime_ns and not self._is_rounded(ours, theirs):
            return Owed.ADOPT if ours.kind == FILE else Owed.CONTENT
        uid, gid = self._owner
        if (
            (ours.mode ^ theirs.mode) & self._bits
            or uid not in (-1, line.uid)
            or gid not in (-1, line.gid)
        ):
            return Owed.ATTRIBUTES
        return None

    def _is_rounded(self, ours: Entry, theirs: Entry) -> bool:
        """Return True if their time is ours, rounded down, and this is enough to know that they hold our version.

        Two versions of a file that were written within one second have the same time there. So either their contents were
        compared, or the frontend cannot hold the other version: it would be owed ours.
        """
        if ours.kind == FILE and not (self._followed or (self._digests and ours.digest)):
            return False
        return theirs.mtime_ns == ours.mtime_ns // self._granularity * self._granularity


def safe_order(changes: Sequence[Change]) -> list[Change]:
    """Return the changes in an order in which each can succeed.

    Directories before what they hold; symlinks after all else that is put, because they may lead to it; deletes after puts, the deepest first; but what must make way for a path that turns
    from a directory into something else is deleted before that path is put.
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
