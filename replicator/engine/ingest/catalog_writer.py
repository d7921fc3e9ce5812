"""Store in the catalog what checks find, and delete the records of missing paths from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from replicator.engine.ingest.records import other_names
from replicator.engine.ingest.scan_result import ScanResult
from replicator.model import FILE, ancestors, is_below
from replicator.ports import Catalog, Record, Source

PORTION = 256
"""Records below a missing directory that are deleted at once, in 10 ms."""


class CatalogWriter:
    """Updates the catalog of one tree.

    Args:
        source: the files.
        catalog: the records.
        deleting: called with the paths that are about to be deleted on the source's account; again, with none, if that fails.
    """

    def __init__(
        self,
        source: Source,
        catalog: Catalog,
        deleting: Callable[[Sequence[bytes]], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._catalog = catalog
        self._deleting = deleting

    def store(self, found: ScanResult) -> ScanResult:
        """Update the catalog, and return the result without deletions of paths that exist again.

        Raises:
            SourceError: the root is in doubt, and therefore all deletions; nothing was stored.
        """
        records = [update.record for update in found.updates] + found.records
        if found.gone or found.forgotten:
            self._source.check_root()  # below a vanished root, everything looks deleted
            back = {path for r in records for path in (r.path, *ancestors(r.path))}
            found.gone = [path for path in dict.fromkeys(found.gone) if path not in back]
            found.forgotten = [path for path in found.forgotten if path not in back]
        deleted = found.gone + found.forgotten
        if records or deleted:
            self._deleting(found.gone)
            try:
                self._catalog.apply(records, deleted, found.signatures)
            except BaseException:
                self._deleting(())
                raise
        return found

    def remove(
        self, paths: Sequence[bytes], *, unsure: Collection[bytes] = ()
    ) -> Iterator[ScanResult]:
        """Delete the records of missing paths whose deletion is confirmed, and of all paths below them; yield one result.

        Args:
            paths: the paths.
            unsure: those of them that may exist again, because some time has passed since their check. If they do, they are left out.

        Raises:
            SourceError: the root is in doubt; nothing was stored.
        """
        found = ScanResult()
        records = self._catalog.get(paths)
        for path in paths:
            if path not in unsure or self._is_missing(path):
                self.add_deletion(path, records.get(path), found)
        yield self.store(found)

    def remove_below(self, directory: bytes) -> Iterator[ScanResult]:
        """Delete the records below a missing directory in portions, children before parents; leave the last portion to `remove`.

        It ends when the directory exists again.

        Raises:
            SourceError: the root is in doubt; nothing of the portion was stored.
        """
        record = self._catalog.get([directory]).get(directory)
        excluded = record is not None and self._source.excluded(directory, record.entry.kind)
        below = self._catalog.below(directory)
        while len(below) > PORTION and self._is_missing(directory):
            found = ScanResult()
            some = below[-PORTION:][::-1]
            del below[-PORTION:]
            (found.forgotten if excluded else found.gone).extend(some)
            for known in self._catalog.get(some).values():
                if known.entry.kind == FILE:
                    names = other_names(self._catalog, known.path, known.stamp.inode)
                    found.siblings += [name for name in names if not is_below(name, directory)]
            yield self.store(found)

    def _is_missing(self, path: bytes) -> bool:
        try:
            return self._source.stat(path) is None
        except OSError:
            return False

    def add_deletion(self, path: bytes, record: Record | None, found: ScanResult) -> None:
        """Add the deletion of a missing path, and of all paths below it, to a result; check the other names of a file."""
        below = self._catalog.below(path)
        if record is None:  # a rename may have put records below it before it was checked itself
            self.add_deletions_below(path, below, found)
            return
        if record.entry.kind == FILE:
            found.siblings += other_names(self._catalog, path, record.stamp.inode)
        if self._source.excluded(path, record.entry.kind):
            found.forgotten += [*reversed(below), path]
            return
        self.add_deletions_below(path, below, found)
        found.gone.append(path)

    def add_deletions_below(self, directory: bytes, below: list[bytes], found: ScanResult) -> None:
        """Add the deletions of all paths below a directory; check the other names of its files, which may have changed through these."""
        if below:
            found.gone.extend(reversed(below))
            found.siblings += self._catalog.sharing_below(directory)
