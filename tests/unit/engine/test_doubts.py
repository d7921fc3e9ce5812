"""Doubts: none is lost, and very many are one."""

import asyncio
from contextlib import suppress

import pytest

from replicator.core.debts import Key
from replicator.engine import doubts as module
from replicator.engine.doubts import Doubts

HERE = Key(1, b"a/b")


async def test_each_directory_is_handed_out_once_in_the_order_in_which_they_came():
    doubts = Doubts()
    waiting = asyncio.ensure_future(doubts.next_directory())
    await asyncio.sleep(0)
    for path in (b"b", b"a", b"b"):
        doubts.directory(Key(1, path))

    assert await waiting == Key(1, b"b")
    assert doubts
    assert await doubts.next_directory() == Key(1, b"a")
    assert not doubts


async def test_what_is_being_compared_is_in_doubt_until_that_is_done():
    doubts = Doubts()
    with doubts.comparing(HERE):
        assert doubts
    with suppress(OSError), doubts.comparing(HERE):
        raise OSError("lost")
    assert not doubts


@pytest.mark.parametrize("pending", [False, True])
async def test_what_lies_at_above_or_below_a_doubt_is_touched_by_it(pending):
    doubts = Doubts()
    assert not doubts.touch(HERE)
    with suppress(StopIteration) if pending else doubts.comparing(HERE):
        if pending:
            doubts.directory(HERE)
        for path in (b"", b"a", b"a/b", b"a/b/c"):
            assert doubts.touch(Key(1, path)), path
        for path in (b"b", b"a/bc", b"a/c"):
            assert not doubts.touch(Key(1, path)), path
        assert not doubts.touch(Key(2, b"a/b"))


async def test_very_many_directories_are_everything(monkeypatch):
    monkeypatch.setattr(module, "DOUBTS", 3)
    doubts = Doubts()
    for number in range(4):
        doubts.directory(Key(1, b"%d" % number))

    assert not doubts
    doubts.settling(2)
    for number in range(4):
        doubts.directory(Key(1, b"%d" % number))
    assert not doubts.is_settled(2)


async def test_a_comparison_of_a_tree_satisfies_the_requests_made_before_it_began():
    doubts = Doubts()
    doubts.everything()
    doubts.settling(1)
    assert doubts.is_settled(1)
    assert not doubts.is_settled(2)
    doubts.everything()
    assert not doubts.is_settled(1)


async def test_no_change_is_missed_between_two_waits():
    doubts = Doubts()
    doubts.tell()
    await doubts.changed(3600.0)
    waiting = asyncio.ensure_future(doubts.changed(3600.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    doubts.everything()
    await waiting


async def test_a_pause_ends_when_somebody_asks_from_now_on():
    doubts = Doubts()
    doubts.everything()
    pause = asyncio.ensure_future(doubts.poked(3600.0))
    await asyncio.sleep(0.05)
    assert not pause.done()
    doubts.everything()
    async with asyncio.timeout(5):
        await pause
    async with asyncio.timeout(5):
        await doubts.poked(0.01)
