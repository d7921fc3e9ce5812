"""Preparation of large files: a version that is no longer current is cancelled."""

import asyncio

import pytest

from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.encode import CHUNK
from replicator.engine.frontend.preparation import STREAMS
from replicator.wire.messages import Data
from tests.support.sending import BIG
from tests.support.waiting import eventually


async def test_a_large_file_that_changes_while_it_is_read_is_cancelled_and_sent_anew(sending):
    sending.write(b"big", BIG)
    sending.source.after_read = lambda _path: sending.source.write(b"big", BIG[::-1])
    async with sending.open():
        sending.mark(b"big")
        await eventually(lambda: any(data.cancel for data in sending.channel.of(Data)), "the end")
        assert not any(data.end for data in sending.channel.of(Data))
        assert sending.rechecked == [b"big"]

        sending.source.after_read = lambda _path: None
        sending.scan()
        (broken,) = sending.sent(b"big")
        sending.channel.payloads.clear()
        sending.refuse(broken.number, "digest_mismatch")
        await eventually(lambda: any(data.end for data in sending.channel.of(Data)), "the new one")

    assert b"".join(sending.contents()) == BIG[::-1]


async def test_a_large_file_marked_again_before_its_end_is_cancelled_and_has_another_number(
    sending,
):
    sending.write(b"big", BIG)
    async with sending.open():
        sending.channel.open.clear()
        sending.mark(b"big")
        await sending.times_sent(b"big", 1)
        await eventually(lambda: sending.frames_waiting == 3, "all frames but the first")
        sending.mark(b"big")
        sending.channel.open.set()
        await eventually(lambda: any(data.cancel for data in sending.channel.of(Data)), "a cancel")
        assert not any(data.end for data in sending.channel.of(Data))
        sending.make_room()
        await eventually(lambda: any(data.end for data in sending.channel.of(Data)), "the end")

    first, second = sending.sent(b"big")
    *_, last = sending.channel.of(Data)
    assert last.number == second.number != first.number


async def test_the_rest_of_a_large_file_that_was_refused_is_neither_read_nor_sent(sending):
    chunks = 40
    sending.write(b"big", b"x" * (CHUNK * chunks))
    async with sending.open():
        sending.mark(b"big")
        refused = await sending.times_sent(b"big", 1)
        sending.refuse(refused.number, "no_space", "No space left on device")
        await eventually(lambda: any(data.cancel for data in sending.channel.of(Data)), "a cancel")
        sending.make_room()
        content = [payload for payload in sending.channel.payloads if payload]
        assert len(content) < chunks // 2
        assert len(sending.source.reads) < chunks // 2
        assert not any(data.end for data in sending.channel.of(Data))
        assert len(sending.sent(b"big")) == 1


@pytest.mark.parametrize("trees", [2, STREAMS + 2])
async def test_large_files_of_one_tree_do_not_wait_for_a_huge_one_of_another(sending, trees):
    others = range(2, trees + 1)
    sending.trees.update(dict.fromkeys(others, sending.trees[1]))
    sending.write(b"huge", b"x" * (CHUNK * 100))
    for number in range(3):
        sending.write(b"big%d" % number, BIG)
    async with sending.open():
        sending.mark(b"huge", b"big0")
        huge = await sending.times_sent(b"huge", 1)
        for tree in others:
            for number in range(3):
                key = Key(tree, b"big%d" % number)
                now = asyncio.get_running_loop().time()
                sending.dirty.mark(key, PendingKind.CONTENT, now, urgent=False)
        sending.sender.wake()

        def all_ended():
            sending.make_room()
            sending.sender.wake()
            ended = {data.number for data in sending.channel.of(Data) if data.end}
            return len(ended) == 3 * len(others)

        await eventually(all_ended, "the ends of all in the other trees")
        ended = {data.number for data in sending.channel.of(Data) if data.end}
        assert huge.number not in ended
        assert {change.tree for change in sending.sent() if change.number in ended} == set(others)
        assert [change.path for change in sending.sent() if change.tree == 1] == [b"huge"]


async def test_the_parts_of_two_files_that_were_not_begun_are_not_sent(sending):
    sending.trees[2] = sending.trees[1]
    sending.write(b"big", BIG)
    sending.write(b"other", BIG)
    async with sending.open():
        sending.fill_window()
        for key in (Key(1, b"big"), Key(2, b"other")):
            now = asyncio.get_running_loop().time()
            sending.dirty.mark(key, PendingKind.CONTENT, now, urgent=False)
        sending.sender.wake()
        await eventually(lambda: sending.frames_waiting == 8, "all frames of both")
        sending.dirty.clear()
        sending.make_room()
        await eventually(lambda: not sending.frames_waiting, "the prepared frames to be taken")
    assert sending.sent() == []
    assert sending.channel.of(Data) == []


async def test_a_large_file_of_a_paused_tree_is_cancelled_and_sent_after_the_pause(sending):
    sending.write(b"big", b"x" * (CHUNK * 40))
    sending.write(b"next", BIG)
    async with sending.open():
        sending.channel.open.clear()
        sending.mark(b"big", b"next")
        await sending.times_sent(b"big", 1)
        sending.dirty.hold({1})
        sending.state.held = frozenset({1})
        sending.sender.hold()
        sending.channel.open.set()

        def is_cancelled():
            sending.make_room()
            return any(data.cancel for data in sending.channel.of(Data))

        await eventually(is_cancelled, "a cancel")
        assert not any(data.end for data in sending.channel.of(Data))
        (begun,) = sending.sent()
        sending.refuse(begun.number, "digest_mismatch")
        await eventually(lambda: not sending.connection.is_in_flight(begun.number), "the answer")
        assert not sending.dirty.waiting_or_sent(), "both are held"
        assert set(sending.dirty) == {Key(1, b"big"), Key(1, b"next")}
        assert not sending.dirty.has_reasons()

        sending.dirty.hold(())
        sending.state.held = frozenset()
        sending.sender.hold()
        await sending.times_sent(b"next", 1)
        await sending.times_sent(b"big", 2)
