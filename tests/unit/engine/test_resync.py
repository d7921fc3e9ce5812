"""ResyncQueue: no request is lost, and too many directories become one comparison of everything."""

import asyncio
from contextlib import suppress

import pytest

from replicator.core.pending import Key
from replicator.engine.frontend import resync as module
from replicator.engine.frontend.resync import ResyncQueue
from tests.support.waiting import FOREVER, turns

HERE = Key(1, b"a/b")


async def test_each_directory_is_returned_once_in_the_order_of_the_requests():
    resync = ResyncQueue()
    waiting = asyncio.ensure_future(resync.next_directory())
    await turns()
    for path in (b"b", b"a", b"b"):
        resync.request(Key(1, path))

    assert await waiting == Key(1, b"b")
    assert resync
    assert await resync.next_directory() == Key(1, b"a")
    assert not resync


async def test_the_queue_is_not_empty_while_a_directory_is_compared():
    resync = ResyncQueue()
    with resync.comparing(HERE):
        assert resync
    with suppress(OSError), resync.comparing(HERE):
        raise OSError("lost")
    assert not resync


@pytest.mark.parametrize("pending", [False, True])
async def test_a_request_overlaps_every_path_at_above_or_below_it(pending):
    resync = ResyncQueue()
    assert not resync.overlaps(HERE)
    with suppress(StopIteration) if pending else resync.comparing(HERE):
        if pending:
            resync.request(HERE)
        for path in (b"", b"a", b"a/b", b"a/b/c"):
            assert resync.overlaps(Key(1, path)), path
        for path in (b"b", b"a/bc", b"a/c"):
            assert not resync.overlaps(Key(1, path)), path
        assert not resync.overlaps(Key(2, b"a/b"))


async def test_too_many_directories_are_replaced_by_a_comparison_of_everything():
    resync = ResyncQueue()
    for number in range(module.MOST_DIRECTORIES + 1):
        resync.request(Key(1, b"%d" % number))

    assert not resync
    resync.began(2)
    for number in range(module.MOST_DIRECTORIES + 1):
        resync.request(Key(1, b"%d" % number))
    assert not resync.is_satisfied(2)


async def test_a_comparison_of_a_tree_satisfies_the_requests_made_before_it_began():
    resync = ResyncQueue()
    resync.request_all()
    resync.began(1)
    assert resync.is_satisfied(1)
    assert not resync.is_satisfied(2)
    resync.request_all()
    assert not resync.is_satisfied(1)


async def test_no_change_is_missed_between_two_waits():
    resync = ResyncQueue()
    resync.notify()
    await resync.changed(3600.0)
    waiting = asyncio.ensure_future(resync.changed(3600.0))
    await turns()
    assert not waiting.done()
    resync.request_all()
    await waiting


async def test_a_pause_ends_with_the_next_request():
    resync = ResyncQueue()
    resync.request_all()
    pause = asyncio.ensure_future(resync.pause(3600.0))
    await turns(3)
    assert not pause.done()
    resync.request_all()
    async with asyncio.timeout(FOREVER):
        await pause
    async with asyncio.timeout(FOREVER):
        await resync.pause(0.01)
