"""Large files: a version that is not the current one any more never ends."""

import asyncio

import pytest

from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.encode import CHUNK
from replicator.engine.frontend.sender import STREAMS
from replicator.wire.messages import Data
from tests.support.route import BIG
from tests.support.waiting import eventually


async def test_a_large_file_that_changes_while_it_is_read_is_cancelled_and_sent_anew(route):
    route.write(b"big", BIG)
    route.source.after_read = lambda _path: route.source.write(b"big", BIG[::-1])
    async with route.open():
        route.mark(b"big")
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "the end")
        assert not any(data.end for data in route.channel.of(Data))
        assert route.rechecked == [b"big"]

        route.source.after_read = lambda _path: None
        route.scan()
        (broken,) = route.sent(b"big")
        route.channel.payloads.clear()
        route.refuse(broken.number, "digest_mismatch")
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the new one")

    assert b"".join(route.contents()) == BIG[::-1]


async def test_a_large_file_marked_again_before_its_end_never_ends_and_has_another_number(route):
    route.write(b"big", BIG)
    async with route.open():
        route.channel.open.clear()
        route.mark(b"big")
        await route.times_sent(b"big", 1)
        await eventually(lambda: len(route.sender._prepared) == 3, "all frames but the first")
        route.mark(b"big")
        route.channel.open.set()
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "a cancel")
        assert not any(data.end for data in route.channel.of(Data))
        route.make_room()
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the end")

    first, second = route.sent(b"big")
    *_, last = route.channel.of(Data)
    assert last.number == second.number != first.number


async def test_the_rest_of_a_large_file_that_was_refused_is_neither_read_nor_sent(route):
    chunks = 40
    route.write(b"big", b"x" * (CHUNK * chunks))
    async with route.open():
        route.mark(b"big")
        refused = await route.times_sent(b"big", 1)
        route.refuse(refused.number, "no_space", "No space left on device")
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "a cancel")
        route.make_room()
        content = [payload for payload in route.channel.payloads if payload]
        assert len(content) < chunks // 2
        assert len(route.source.reads) < chunks // 2
        assert not any(data.end for data in route.channel.of(Data))
        assert len(route.sent(b"big")) == 1


@pytest.mark.parametrize("trees", [2, STREAMS + 2])
async def test_large_files_of_one_tree_do_not_wait_for_a_huge_one_of_another(route, trees):
    others = range(2, trees + 1)
    route.trees.update(dict.fromkeys(others, route.trees[1]))
    route.write(b"huge", b"x" * (CHUNK * 100))
    for number in range(3):
        route.write(b"big%d" % number, BIG)
    async with route.open():
        route.mark(b"huge", b"big0")
        huge = await route.times_sent(b"huge", 1)
        for tree in others:
            for number in range(3):
                key = Key(tree, b"big%d" % number)
                now = asyncio.get_running_loop().time()
                route.dirty.mark(key, PendingKind.CONTENT, now, urgent=False)
        route.sender.wake()

        def all_ended():
            route.make_room()
            route.sender.wake()
            ended = {data.number for data in route.channel.of(Data) if data.end}
            return len(ended) == 3 * len(others)

        await eventually(all_ended, "the ends of all in the other trees")
        ended = {data.number for data in route.channel.of(Data) if data.end}
        assert huge.number not in ended
        assert {change.tree for change in route.sent() if change.number in ended} == set(others)
        assert [change.path for change in route.sent() if change.tree == 1] == [b"huge"]


async def test_the_parts_of_two_files_of_which_neither_was_begun_are_left_out(route):
    route.trees[2] = route.trees[1]
    route.write(b"big", BIG)
    route.write(b"other", BIG)
    async with route.open():
        route.fill_window()
        for key in (Key(1, b"big"), Key(2, b"other")):
            now = asyncio.get_running_loop().time()
            route.dirty.mark(key, PendingKind.CONTENT, now, urgent=False)
        route.sender.wake()
        await eventually(lambda: len(route.sender._prepared) == 8, "all frames of both")
        route.dirty.clear()
        route.make_room()
        await eventually(lambda: not route.sender._prepared, "the frames to be looked at")
    assert route.sent() == []
    assert route.channel.of(Data) == []
