"""Merge a frontend's listing with the catalog: check the order of the listing, and yield the differences page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from replicator.core.plan import Comparison, Difference
from replicator.errors import ProtocolError
from replicator.model import DIRECTORY, Listed, is_below, key, last_below, printable
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
        equal: the directories below which nothing is listed, because it is equal, and their digests.
    """

    def __init__(
        self,
        catalog: Catalog,
        comparison: Comparison,
        below: bytes,
        equal: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> None:
        self._catalog = catalog
        self._comparison = comparison
        self._equal = equal
        self._after: bytes | None = below or None
        self._last: bytes | None = last_below(below) if below else None
        self._read = 0

    def pages(self, lines: list[Listed], *, end: bool) -> Iterator[list[Difference]]:
        """Yield differences up to the last line; with `end`, up to the end of the directory.

        Raises:
            ProtocolError: if a line says that nothing is listed below a directory that was not found to be equal.
        """
        if not lines and not end:
            return
        found: list[Difference] = []
        for part, until in self._parts(lines, end=end):
            for differences in self._differences(part, until):
                found += differences
                if self._read >= PAGE:
                    yield found
                    found, self._read = [], 0
            if part and _is_left_out(part[-1]):
                self._after = last_below(part[-1].path)
        yield found

    def _parts(
        self, lines: list[Listed], *, end: bool
    ) -> Iterator[tuple[list[Listed], bytes | None]]:
        """Split lines after each directory below which nothing is listed; yield each part, and the last path of its key range."""
        start = 0
        for place, line in enumerate(lines, 1):
            if _is_left_out(line):
                if self._equal.get(line.path) != line.entry.digest:
                    raise ProtocolError(
                        f"the agent does not list what is below {printable(line.path)}, and that was not compared"
                    )
                yield lines[start:place], line.path
                start = place
        if end:
            yield lines[start:], self._last
        elif start < len(lines):
            yield lines[start:], lines[-1].path

    def _differences(self, lines: list[Listed], until: bytes | None) -> Iterator[list[Difference]]:
        while True:
            with self._catalog.renaming:
                records = self._catalog.scan(self._after, until, PAGE)
            full = len(records) == PAGE
            cut = len(lines)
            if full:
                edge = key(records[-1].path)
                cut = next((i for i, line in enumerate(lines) if key(line.path) > edge), cut)
            self._read += len(records) + 1
            yield list(self._comparison.differences(lines[:cut], records))
            lines = lines[cut:]
            if full:
                self._after = records[-1].path
            else:
                self._after = until
                return


def _is_left_out(line: Listed) -> bool:
    return line.entry.kind == DIRECTORY and bool(line.entry.digest)
