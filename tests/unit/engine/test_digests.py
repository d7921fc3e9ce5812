"""Digests of a frontend's directories: what a wrong answer leads to."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.engine.frontend import digests as module
from replicator.engine.frontend.compare import OpenedTree, compare
from replicator.engine.frontend.digests import Equal, find_equal
from replicator.errors import ChannelLost, ProtocolError
from replicator.model import DIRECTORY, FILE, Entry, Listed
from replicator.wire.messages import (
    FEATURES,
    VERSION,
    Descend,
    Digests,
    DigestTree,
    Hello,
    Listing,
    ListTree,
)
from tests.support.ends import receiving
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually

OTHER = b"o" * 32
FOLDER, PICTURE = Entry(DIRECTORY, 0o755, 0, 1), Entry(FILE, 0o644, 1, 1)


@pytest.fixture
def tree():
    catalog = FakeCatalog()
    for path in (b"a", b"a/deep", b"b"):
        catalog.put(path, FOLDER)
    for path in (b"a/deep/1", b"b/1"):
        catalog.put(path, PICTURE)
    return fake_tree(FakeSource(), catalog)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def ours(tree, path=b""):
    digests = tree.catalog.digests
    number = digests.begin(tree.mode_bits)
    while not digests.refresh(number):
        pass
    return digests.find([path], tree.mode_bits)[path]


class Frontend:
    """The frontend's side: it sends what the test says, after each request."""

    def __init__(self, ends, tree, pool, *answers):
        self.ends = ends
        self._work = lambda: find_equal(ends.connection, tree, b"", pool)
        self._answers = answers

    async def result(self):
        """Return what is found to be equal."""
        ends = self.ends
        ends.channel.send(Hello(VERSION, FEATURES))
        async with receiving(ends) as task:
            await ends.connection.exchange_hello()
            working = asyncio.ensure_future(self._work())
            job = 0
            for number, answer in enumerate(self._answers):
                await eventually(
                    lambda number=number: working.done() or len(self._requests()) > number, "asked"
                )
                job = self._requests()[0].job
                for frame in answer if isinstance(answer, list) else [answer]:
                    ends.channel.send(frame._replace(job=job))
            await asyncio.wait([working, task], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                return await task
            return working.result()

    def _requests(self):
        return [*self.ends.channel.of(DigestTree), *self.ends.channel.of(Descend)]


def answer(*rows, walked=5, end=True):
    return Digests(0, rows, walked, end)


async def test_an_equal_root_is_one_line_for_everything(ends, tree, pool):
    found = await Frontend(ends, tree, pool, answer((b"", ours(tree)))).result()
    assert found == Equal(everything=True)
    assert ends.channel.of(Descend) == []


async def test_only_what_differs_is_opened(ends, tree, pool):
    a, b = ours(tree, b"a"), ours(tree, b"b")
    asked = Frontend(
        ends, tree, pool, answer((b"", OTHER)), answer((b"a", OTHER), (b"b", b), (b"c", OTHER)),
        answer(), answer((b"a/deep", ours(tree, b"a/deep"))), answer(),
    )  # fmt: skip
    found = await asked.result()
    assert a
    assert found.directories == {b"b": b, b"a/deep": ours(tree, b"a/deep")}
    sent = [(one.opened, one.whole) for one in ends.channel.of(Descend)]
    assert sent == [((b"",), ()), ((), (b"c",)), ((b"a",), ())]


async def test_a_frontend_that_has_much_less_is_listed(ends, tree, pool):
    found = await Frontend(ends, tree, pool, answer((b"", OTHER), walked=1)).result()
    assert found == Equal()


async def test_an_agent_of_an_earlier_release_is_not_asked(ends, tree, pool):
    ends.channel.send(Hello(VERSION, tuple(name for name in FEATURES if name != "digests")))
    async with receiving(ends):
        await ends.connection.exchange_hello()
        assert await find_equal(ends.connection, tree, b"", pool) == Equal()
    assert ends.channel.of(DigestTree) == []


async def test_no_digest_equals_nothing(ends, tree, pool):
    tree.catalog.records[b"b/1"] = tree.catalog.records[b"b/1"]._replace(ambiguous=True)
    tree.catalog.digests = type(tree.catalog.digests)(tree.catalog.children, tree.catalog.get)
    assert ours(tree) == b""
    asked = Frontend(
        ends,
        tree,
        pool,
        answer((b"", b"")),
        answer((b"a", ours(tree, b"a")), (b"b", b"")),
        answer(),
    )
    assert (await asked.result()).directories == {b"a": ours(tree, b"a")}


@pytest.mark.parametrize(
    "answers",
    [
        [answer()],
        [answer((b"a", OTHER))],
        [answer((b"", OTHER), (b"a", OTHER))],
        [answer((b"", OTHER)), answer((b"b", OTHER), (b"a", OTHER))],
        [answer((b"", OTHER)), answer((b"a", OTHER), (b"a", OTHER))],
        [answer((b"", OTHER)), answer((b"a/deep", OTHER))],
        [answer((b"", OTHER)), answer((b"", OTHER))],
        [Listing(0, (Listed(b"a", FOLDER, 0, 0),), (), True)],
        [[answer(walked=0, end=False)]],
        [[answer(walked=1, end=False)] * 9],
    ],
    ids=[
        "nothing",
        "other",
        "more",
        "order",
        "twice",
        "deeper",
        "root",
        "listing",
        "idle",
        "flood",
    ],
)
async def test_a_wrong_answer_is_a_protocol_error(ends, tree, pool, answers):
    with pytest.raises(ProtocolError):
        await Frontend(ends, tree, pool, *answers).result()


async def test_a_walk_without_an_end_is_a_protocol_error(ends, tree, pool, monkeypatch):
    monkeypatch.setattr(module, "MOST_WALKED", 10)
    endless = [[answer(walked=15, end=False), answer(walked=15, end=False)]]
    with pytest.raises(ProtocolError, match="no end"):
        await Frontend(ends, tree, pool, *endless).result()


async def test_too_many_digests_end_in_a_listing_of_everything(ends, tree, pool, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    rows = answer((b"a", ours(tree, b"a")), (b"b", OTHER))
    assert await Frontend(ends, tree, pool, answer((b"", OTHER)), rows).result() == Equal()


async def test_what_is_not_listed_and_was_not_compared_is_a_protocol_error(ends, tree, pool):
    async def nothing(_differences):
        pass

    ends.channel.send(Hello(VERSION, FEATURES))
    async with receiving(ends):
        await ends.connection.exchange_hello()
        comparing = asyncio.ensure_future(
            compare(ends.connection, OpenedTree(tree, granularity=1000), b"", pool, nothing)
        )
        await eventually(lambda: ends.channel.of(ListTree), "the request")
        (request,) = ends.channel.of(ListTree)
        assert request.walk == 0
        assert ends.channel.of(DigestTree) == []
        left_out = Listed(b"a", FOLDER._replace(digest=ours(tree, b"a")), 0, 0)
        ends.channel.send(Listing(request.job, (left_out,), (), True))
        with pytest.raises(ProtocolError, match="was not compared"):
            await comparing


async def test_a_walk_without_progress_ends_the_connection(ends, tree, pool):
    ends.channel.send(Hello(VERSION, FEATURES))
    async with receiving(ends):
        await ends.connection.exchange_hello()
        walking = asyncio.ensure_future(find_equal(ends.connection, tree, b"", pool))
        await eventually(lambda: ends.channel.of(DigestTree), "the request")
        try:
            with pytest.raises(ChannelLost):
                async with asyncio.timeout(0.5):
                    await ends.connection.progress_timeout.watch(0.05)
        finally:
            walking.cancel()
            await asyncio.gather(walking, return_exceptions=True)
