"""Merge a frontend's listing with the catalog: check the order of the listing, and yield the differences page by page."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.core.plan import Comparison, Difference
from replicator.errors import ProtocolError
from replicator.model import Listed, is_below, key, last_below, printable
from replicator.ports import Catalog
from replicator.wire.messages import Listing

PAGE = 1000
"""Records that are read from the catalog at a time."""


class ListingOrder:
    """Checks that the lines of a listing ascend strictly, and are below the requested directory.

    The comparison relies on that. A violation harms only the frontend itself, but it would do so for ever.

    Args:
        below: the directory.

    Attributes:
        below: the directory.
        last: path of the last line.
        count: number of lines, and of directories that could not be listed, since the listing began.
    """

    def __init__(self, below: bytes) -> None:
        self.below = below
        self.last = b""
        self.count = 0
        self._last_key = b""

    def without_known(self, listing: Listing) -> Listing:
        """Return a listing without the lines that were checked before: an agent of an earlier release starts from the beginning."""
        lines = tuple(line for line in listing.lines if key(line.path) > self._last_key)
        self.count += len(listing.lines) - len(lines)
        return listing._replace(lines=lines)

    def check(self, listing: Listing) -> int:
        """Check the next lines; return the new count.

        Raises:
            ProtocolError: if the listing is out of order.
        """
        for line in listing.lines:
            place = key(line.path)
            if place <= self._last_key or not is_below(line.path, self.below):
                raise ProtocolError(
                    f"the agent's listing is out of order at {printable(line.path)}"
                )
            self._last_key = place
            self.last = line.path
        self.count += len(listing.lines) + len(listing.unlisted)
        return self.count

    def limit(self, most: int) -> None:
        """Check that there are at most `most` lines.

        Raises:
            ProtocolError: if there are more.
        """
        if self.count > most:
            raise ProtocolError(f"the agent lists {self.count} paths, and no end")


class Merge:
    """Compares the lines of a listing, as they arrive, with the matching records of the catalog. Blocks.

    Args:
        catalog: catalog of the tree.
        comparison: decides what differs.
        below: the directory that is listed.
    """

    def __init__(self, catalog: Catalog, comparison: Comparison, below: bytes) -> None:
        self._catalog = catalog
        self._comparison = comparison
        self._after: bytes | None = below or None
        self._last: bytes | None = last_below(below) if below else None

    def pages(self, lines: list[Listed], *, end: bool) -> Iterator[list[Difference]]:
        """Yield differences up to the last line; with `end`, up to the end of the directory."""
        if not lines and not end:
            return
        until = self._last if end else lines[-1].path
        while True:
            with self._catalog.renaming:
                records = self._catalog.scan(self._after, until, PAGE)
            full = len(records) == PAGE
            cut = len(lines)
            if full:
                edge = key(records[-1].path)
                cut = next((i for i, line in enumerate(lines) if key(line.path) > edge), cut)
            yield list(self._comparison.differences(lines[:cut], records))
            lines = lines[cut:]
            if full:
                self._after = records[-1].path
            else:
                self._after = until
                return
