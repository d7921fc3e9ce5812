"""Doubts: none is lost, and very many are one."""

import asyncio
from contextlib import suppress

import pytest

from replicator.core.pending import Key
from replicator.engine.frontend import resync as module
from replicator.engine.frontend.resync import ResyncQueue
from tests.support.waiting import FOREVER, turns

HERE = Key(1, b"a/b")


async def test_each_directory_is_handed_out_once_in_the_order_in_which_they_came():
    resync = ResyncQueue()
    waiting = asyncio.ensure_future(resync.next_directory())
    await turns()
    for path in (b"b", b"a", b"b"):
        resync.directory(Key(1, path))

    assert await waiting == Key(1, b"b")
    assert resync
    assert await resync.next_directory() == Key(1, b"a")
    assert not resync


async def test_what_is_being_compared_is_in_doubt_until_that_is_done():
    resync = ResyncQueue()
    with resync.comparing(HERE):
        assert resync
    with suppress(OSError), resync.comparing(HERE):
        raise OSError("lost")
    assert not resync


@pytest.mark.parametrize("pending", [False, True])
async def test_what_lies_at_above_or_below_a_doubt_is_touched_by_it(pending):
    resync = ResyncQueue()
    assert not resync.touch(HERE)
    with suppress(StopIteration) if pending else resync.comparing(HERE):
        if pending:
            resync.directory(HERE)
        for path in (b"", b"a", b"a/b", b"a/b/c"):
            assert resync.touch(Key(1, path)), path
        for path in (b"b", b"a/bc", b"a/c"):
            assert not resync.touch(Key(1, path)), path
        assert not resync.touch(Key(2, b"a/b"))


async def test_very_many_directories_are_everything():
    resync = ResyncQueue()
    for number in range(module.DOUBTS + 1):
        resync.directory(Key(1, b"%d" % number))

    assert not resync
    resync.settling(2)
    for number in range(module.DOUBTS + 1):
        resync.directory(Key(1, b"%d" % number))
    assert not resync.is_settled(2)


async def test_a_comparison_of_a_tree_satisfies_the_requests_made_before_it_began():
    resync = ResyncQueue()
    resync.everything()
    resync.settling(1)
    assert resync.is_settled(1)
    assert not resync.is_settled(2)
    resync.everything()
    assert not resync.is_settled(1)


async def test_no_change_is_missed_between_two_waits():
    resync = ResyncQueue()
    resync.tell()
    await resync.changed(3600.0)
    waiting = asyncio.ensure_future(resync.changed(3600.0))
    await turns()
    assert not waiting.done()
    resync.everything()
    await waiting


async def test_a_pause_ends_when_somebody_asks_from_now_on():
    resync = ResyncQueue()
    resync.everything()
    pause = asyncio.ensure_future(resync.poked(3600.0))
    await turns(3)
    assert not pause.done()
    resync.everything()
    async with asyncio.timeout(FOREVER):
        await pause
    async with asyncio.timeout(FOREVER):
        await resync.poked(0.01)
