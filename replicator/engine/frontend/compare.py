"""Compare the paths on a frontend with the catalog, and yield the differences.

Directories whose digests are equal are not listed (`engine.frontend.digests`). The frontend's listing of the others streams in, in
order, and the catalog is read in the same order, a page at a time; memory stays small for a tree of any size. The caller may pause the comparison until some of the differences have been sent: the agent, which lists only as
much as was requested, is then free to receive them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from replicator.core.plan import Comparison, Difference
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.digests import Equal, find_equal
from replicator.engine.frontend.merge import ListingOrder, Merge
from replicator.engine.tree import Tree
from replicator.errors import ControlError
from replicator.model import ancestors, printable
from replicator.ports import Catalog
from replicator.wire.messages import Listing

KEPT_IN_MEMORY = 50_000
"""Surplus paths that are kept in memory until they are counted: 10 MB. If there are more and they may be removed, the frontend is
listed a second time."""

LINES, TIMES = 10_000_000, 4
"""Limits of a listing: the number of lines, and their number as a multiple of the paths in the tree. Excluded caches are listed as
well. A correct listing of ten million lines takes some minutes; one without an end must not block the bootstrap queue."""

INTERRUPTIONS = 20
"""Successive interruptions of a listing that has not advanced, after which it is given up."""

PROBLEMS = 100
"""Directories that cannot be listed and are reported."""


@dataclass
class Outcome:
    """Reasons why a frontend may differ after a comparison.

    Attributes:
        problems: sentences about directories that the frontend could not list.
        surplus_kept: why surplus paths are kept; empty if they are removed.
        surplus: number of these paths.
        left: number of paths in the tree then.
    """

    problems: list[str]
    surplus_kept: str = ""
    surplus: int = 0
    left: int = 0


class RemovalLimit(Protocol):
    """Decides whether surplus paths, which only the frontend has, are removed."""

    def was_dirty(self, path: bytes) -> bool:
        """Return True if a path was dirty before the comparison, so that its removal was decided then."""

    def why_kept(self, found: int, left: int) -> str:
        """Return why surplus paths are kept; empty if they may be removed.

        Args:
            found: number of surplus paths below the directory that is compared.
            left: number of paths in the tree.
        """


def _not_counted(_: int) -> None:
    pass


@dataclass(frozen=True)
class ByDigest:
    """The agent reads every file, and contents are compared by SHA-256.

    Attributes:
        rate: bytes per second that the agent may read; 0: no limit.
        compared: called with the number of paths that were compared since its last call.
    """

    rate: int = 0
    compared: Callable[[int], None] = _not_counted


@dataclass(frozen=True)
class OpenedTree:
    """A tree as one frontend's agent has opened it.

    Attributes:
        tree: the tree.
        owner: (uid, gid) that the frontend's files must have; -1 for any.
        granularity: nanoseconds to which the frontend's file system rounds modification times down.
        followed: every change since the last comparison of the whole tree is confirmed or pending.
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


Found = Callable[[list[Difference]], Awaitable[None]]
"""Called with differences as they are found, perhaps none; the comparison pauses until it returns."""


async def compare(
    connection: Connection,
    opened: OpenedTree,
    below: bytes,
    pool: Executor,
    found: Found,
    limit: RemovalLimit | None = None,
    *,
    digests: ByDigest | None = None,
) -> Outcome:
    """Compare one directory, recursively.

    Args:
        connection: connection to the frontend.
        opened: the tree.
        below: the directory; the root is the empty path.
        pool: runs the reads of the catalog.
        found: called with the differences.
        limit: decides about the surplus once it is counted; None: all of it may be removed.
        digests: compare contents as well; None: kind, size, time and mode.
    """
    surplus: list[Difference] = []
    count = 0

    async def take(page: list[Difference]) -> None:
        nonlocal count
        decided, undecided = _split(page, opened, limit)
        await found(decided)
        count += len(undecided)
        if count <= KEPT_IN_MEMORY:
            surplus.extend(undecided)
        else:
            surplus.clear()

    async def take_surplus(page: list[Difference]) -> None:
        nonlocal count
        _, undecided = _split(page, opened, limit)
        counted = undecided[:count]
        count -= len(counted)
        await found(counted)

    equal = Equal()
    # Rounded times are equal only under conditions that a digest does not know.
    if digests is None and opened.granularity == 1:
        equal = await find_equal(connection, opened.tree, below, pool)
    if equal.everything:
        await found([])
        return Outcome([])
    outcome = Outcome(await _list(connection, opened, below, pool, take, equal, digests=digests))
    if limit is None or not count:
        return outcome
    left, _ = await asyncio.get_running_loop().run_in_executor(pool, opened.catalog.counts)
    outcome.surplus_kept = limit.why_kept(count, left)
    if outcome.surplus_kept:
        outcome.surplus, outcome.left = count, left
    elif surplus:
        await found(surplus)
    else:
        await _list(connection, opened, below, pool, take_surplus, Equal())
    return outcome


def _split(
    page: list[Difference], opened: OpenedTree, limit: RemovalLimit | None
) -> tuple[list[Difference], list[Difference]]:
    """Split differences into those that are applied now, and surplus that has to be counted first.

    Surplus whose deletion is held back on all frontends is in neither.
    """
    if not any(one.surplus for one in page):
        return page, []
    decided: list[Difference] = []
    undecided: list[Difference] = []
    for one in page:
        if not one.surplus:
            decided.append(one)
        elif not opened.tree.state.is_deletion_held(one.path):
            passes = limit is None or limit.was_dirty(one.path)
            (decided if passes else undecided).append(one)
    return decided, undecided


async def _list(
    connection: Connection,
    opened: OpenedTree,
    below: bytes,
    pool: Executor,
    take: Found,
    equal: Equal,
    *,
    digests: ByDigest | None = None,
) -> list[str]:
    """List a directory, and pass each page of differences to `take`; return sentences about directories that could not be listed."""
    loop = asyncio.get_running_loop()
    by_digest = digests is not None
    comparison = opened.comparison(digests=by_digest)
    if below:
        above = await loop.run_in_executor(pool, opened.catalog.get, [below, *ancestors(below)])
        comparison.begin_below(above.values())
    merge = Merge(opened.catalog, comparison, below, equal.directories)
    problems: list[str] = []
    order, most = ListingOrder(below), LINES
    number = opened.tree.number
    listed = _listings(connection, number, order, equal.job, digests=digests)
    async with aclosing(listed) as listings:
        async for listing in listings:
            if order.check(listing) > most:
                most = TIMES * (await loop.run_in_executor(pool, opened.catalog.counts))[0]
                order.limit(most)
            problems.extend(
                f"{printable(path)}: cannot be listed: {reason}"
                for path, reason in listing.unlisted[: PROBLEMS - len(problems)]
            )
            async for page in _pages(merge, listing, pool):
                await take(page)
            if digests:
                digests.compared(len(listing.lines))
    return problems


async def _listings(
    connection: Connection, tree: int, order: ListingOrder, walk: int, *, digests: ByDigest | None
) -> AsyncGenerator[Listing, None]:
    """Yield a listing. One with digests, which may last for hours, gives way to others, and then continues where it stopped.

    Raises:
        ControlError: if it was interrupted again and again without advancing.
    """
    in_vain = 0
    while in_vain <= INTERRUPTIONS:
        after = order.last
        order.count = 0
        async with connection.listing(
            tree,
            order.below,
            digest=digests is not None,
            after=after,
            rate=digests.rate if digests else 0,
            gives_way=digests is not None,
            walk=walk,
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
    """Yield the differences up to a listing's last line, read in worker threads."""
    pages = merge.pages(list(listing.lines), end=listing.end)
    while True:
        page = await asyncio.get_running_loop().run_in_executor(pool, next, pages, None)
        if page is None:
            return
        yield page
