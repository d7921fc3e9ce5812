"""Compare what a frontend holds with what the catalog says, and make dirty what differs.

The frontend's listing streams in, sorted; the catalog is read alongside, in the same order, a page at a time; so memory stays
small however large the tree is. When enough is dirty the comparison pauses until some of it has been sent: the agent,
which lists only as much as it is asked for, is then free to receive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from replicator.core.plan import Comparison, Difference
from replicator.engine.frontend.connection import Connection
from replicator.engine.tree import Tree
from replicator.errors import ControlError, ProtocolError
from replicator.model import Listed, is_below, key, last_below, printable
from replicator.ports import Catalog
from replicator.wire.messages import Listing

PAGE = 1000

HELD = 50_000
"""Paths that only a frontend has, kept in memory until it is known how many there are: 10 MB. If there are more and they may go, the
frontend is listed once more."""


LINES, TIMES = 10_000_000, 4
"""A listing may have so many lines, and so many times what the tree holds: caches that we do not replicate are listed too.
An honest one of ten millions is compared in some minutes; one without an end keeps others from the gate no longer."""

INTERRUPTIONS = 20
"""Times in a row that a listing is interrupted without having listed anything, after which it is given up."""

PROBLEMS = 100
"""Directories that cannot be listed, and are told; more are counted."""


@dataclass
class Outcome:
    """What kept a comparison from making a frontend equal.

    Attributes:
        problems: sentences about directories that the frontend could not list.
        excess: why what only the frontend has stays there; empty if it goes.
        surplus: how many paths that are.
        left: paths in the tree then.
    """

    problems: list[str]
    excess: str = ""
    surplus: int = 0
    left: int = 0


class Judge(Protocol):
    """Decides about what only the frontend has."""

    def is_owed(self, path: bytes) -> bool:
        """Return True if the frontend was owed a path already, so that nothing is to be decided."""

    def judge(self, found: int, left: int) -> str:
        """Return why surplus paths stay; empty if they may go.

        Args:
            found: how many there are below the directory that is compared.
            left: paths in the tree.
        """


@dataclass(frozen=True)
class OpenedTree:
    """A tree as one frontend's agent has opened it.

    Attributes:
        tree: the tree.
        owner: (uid, gid) that the frontend's files shall have; -1 where it does not matter.
        granularity: nanoseconds to which the frontend's file system rounds modification times down.
        followed: the frontend is owed, or has confirmed, all that changed since its contents were compared.
    """

    tree: Tree
    owner: tuple[int, int] = (-1, -1)
    granularity: int = 1
    followed: bool = False

    @property
    def catalog(self) -> Catalog:
        """Catalog of the tree."""
        return self.tree.catalog

    def comparison(self, *, digests: bool) -> Comparison:
        """Return a new comparison with this tree."""
        return Comparison(
            excluded=self.tree.excluded,
            bits=self.tree.mode_bits,
            owner=self.owner,
            delete=self.tree.state.deletions_allowed,
            digests=digests,
            granularity=self.granularity,
            followed=self.followed,
        )


async def compare(
    link: Connection,
    opened: OpenedTree,
    below: bytes,
    pool: Executor,
    found: Callable[[list[Difference]], Awaitable[None]],
    judge: Judge | None = None,
    *,
    digests: bool = False,
) -> Outcome:
    """Compare one directory, recursively.

    Args:
        link: to the frontend.
        opened: the tree.
        below: the directory; the root is the empty path.
        pool: where the catalog is read.
        found: takes differences as they are found, perhaps none; may take its time.
        judge: decides about what only the frontend has, when it is known how much that is; None: all of it may go.
        digests: the agent reads everything, and contents are compared by SHA-256.

    Returns:
        What kept it from being compared, or made, whole.
    """
    held: list[Difference] = []
    count = 0

    async def tell(page: list[Difference]) -> None:
        nonlocal count
        told, undecided = _parted(page, opened, judge)
        await found(told)
        count += len(undecided)
        if count <= HELD:
            held.extend(undecided)
        else:
            held.clear()

    async def tell_surplus(page: list[Difference]) -> None:
        nonlocal count
        _, surplus = _parted(page, opened, judge)
        some = surplus[:count]
        count -= len(some)
        await found(some)

    outcome = Outcome(await _compare(link, opened, below, pool, tell, digests=digests))
    if judge is None or not count:
        return outcome
    left, _ = await asyncio.get_running_loop().run_in_executor(pool, opened.catalog.counts)
    outcome.excess = judge.judge(count, left)
    if outcome.excess:
        outcome.surplus, outcome.left = count, left
    elif held:
        await found(held)
    else:
        await _compare(link, opened, below, pool, tell_surplus)
    return outcome


async def _compare(
    link: Connection,
    opened: OpenedTree,
    below: bytes,
    pool: Executor,
    take: Callable[[list[Difference]], Awaitable[None]],
    *,
    digests: bool = False,
) -> list[str]:
    """Have a directory listed, and each page of differences taken; return sentences about what could not be listed."""
    loop = asyncio.get_running_loop()
    merge = Merge(opened.catalog, opened.comparison(digests=digests), below)
    problems: list[str] = []
    order, limit = Order(below), LINES
    async with aclosing(_listed(link, opened.tree.number, order, digests=digests)) as listings:
        async for listing in listings:
            if order.check(listing) > limit:
                limit = TIMES * (await loop.run_in_executor(pool, opened.catalog.counts))[0]
                order.end_beyond(limit)
            problems.extend(
                f"{printable(path)}: cannot be listed: {reason}"
                for path, reason in listing.unlisted[: PROBLEMS - len(problems)]
            )
            async for page in _pages(merge, listing, pool):
                await take(page)
    return problems


async def _listed(
    link: Connection, tree: int, order: Order, *, digests: bool
) -> AsyncGenerator[Listing, None]:
    """Yield a listing. One with digests, which may last for hours, gives way to others, and goes on where it was.

    Raises:
        ControlError: it has got nowhere, again and again.
    """
    in_vain = 0
    while in_vain <= INTERRUPTIONS:
        after = order.last
        order.count = 0
        async with link.listing(
            tree, order.below, digest=digests, after=after, gives_way=digests
        ) as listings:
            async for listing in listings:
                yield listing if not after else order.without_known(listing)
                if listing.end:
                    return
        in_vain = in_vain + 1 if order.last == after else 0
    raise ControlError(
        "verification was interrupted again and again by comparisons, which go first: try it later"
    )


async def _pages(merge: Merge, listing: Listing, pool: Executor) -> AsyncIterator[list[Difference]]:
    """Yield what differs up to a listing's last line, read in worker threads."""
    pages = merge.pages(list(listing.lines), end=listing.end)
    while True:
        page = await asyncio.get_running_loop().run_in_executor(pool, next, pages, None)
        if page is None:
            return
        yield page


def _parted(
    page: list[Difference], opened: OpenedTree, judge: Judge | None
) -> tuple[list[Difference], list[Difference]]:
    """Return the differences of a page that are told now, and the surplus that is judged; what is held back for everybody is neither."""
    if not any(one.surplus for one in page):
        return page, []
    told: list[Difference] = []
    judged: list[Difference] = []
    for one in page:
        if not one.surplus:
            told.append(one)
        elif not opened.tree.state.holds(one.path):
            passes = judge is None or judge.is_owed(one.path)
            (told if passes else judged).append(one)
    return told, judged


class Order:
    """Checks that a listing is one: strictly ascending lines, below the directory that was asked for, and an end.

    The comparison believes the order; what is out of it could only do harm to the frontend itself, but for ever.

    Args:
        below: the directory.

    Attributes:
        below: as given.
        last: the path of the last line.
        count: lines, and directories that could not be listed, since a listing began.
    """

    def __init__(self, below: bytes) -> None:
        self.below = below
        self.last = b""
        self.count = 0
        self._last = b""

    def without_known(self, listing: Listing) -> Listing:
        """Return a listing without the lines that were checked before: an agent of an earlier release begins anew."""
        self.count += len(listing.lines)
        lines = tuple(line for line in listing.lines if key(line.path) > self._last)
        self.count -= len(lines)
        return listing._replace(lines=lines)

    def check(self, listing: Listing) -> int:
        """Take in the next lines; return how many there are.

        Raises:
            ProtocolError: they cannot be a listing's.
        """
        for line in listing.lines:
            place = key(line.path)
            if place <= self._last or not is_below(line.path, self.below):
                raise ProtocolError(
                    f"the agent's listing is out of order at {printable(line.path)}"
                )
            self._last = place
            self.last = line.path
        self.count += len(listing.lines) + len(listing.unlisted)
        return self.count

    def end_beyond(self, limit: int) -> None:
        """Say that there are too many, if there are more than `limit`.

        Raises:
            ProtocolError: there are.
        """
        if self.count > limit:
            raise ProtocolError(f"the agent lists {self.count} paths, and no end")


class Merge:
    """Feeds a comparison: a frontend's lines as they come, the catalog's records read to match. Blocks.

    Args:
        catalog: the tree's.
        comparison: what decides.
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
