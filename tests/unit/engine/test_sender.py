"""Sender: no stale version is sent, no path is lost, and live changes wait for nothing."""

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest

from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.create import (
    attributes_change,
    delete_change,
    link_change,
    move_change,
)
from replicator.engine.changes.encode import encode_links, encode_update
from replicator.engine.frontend.in_flight import WORK
from replicator.engine.frontend.send_queue import PREPARED
from replicator.engine.loop import Turns
from replicator.model import FILE, Entry
from replicator.wire.changes import BASE_MISMATCH, Delete, Link, Move, PutFile, SetAttributes
from replicator.wire.messages import BeginFile, Data
from tests.support.sending import BIG
from tests.support.waiting import eventually, turns


async def test_a_version_read_under_an_earlier_generation_is_not_sent(sending):
    sending.write(b"f", b"old")
    async with sending.open():
        sending.fill_window()
        sending.mark(b"f")
        await sending.prepared(1)
        sending.write(b"f", b"new")
        sending.mark(b"f")
        sending.make_room()
        await sending.times_sent(b"f", 1)

    assert sending.contents() == [b"new"]


async def test_live_changes_wait_neither_for_room_nor_for_prepared_bulk(sending):
    for path in (b"first", b"bulk", b"live", b"later bulk", b"later live"):
        sending.write(path, path)
    async with sending.open():
        sending.channel.open.clear()
        sending.mark(b"first")
        await sending.times_sent(b"first", 1)
        sending.mark(b"bulk")
        await sending.prepared(2)
        sending.offer(sending.whole(b"live"))
        sending.channel.open.set()
        await sending.times_sent(b"bulk", 1)
        assert [change.path for change in sending.sent()] == [b"first", b"live", b"bulk"]

        sending.fill_window()
        sending.mark(b"later bulk")
        await sending.prepared(3)
        sending.offer(sending.whole(b"later live"))
        await sending.times_sent(b"later live", 1)
        assert sending.sent(b"later bulk") == []


async def test_a_live_change_goes_before_bulk_that_waits_for_its_turn_and_does_not_cost_it_the_turn(
    sending,
):
    sending.write(b"bulk", b"bulk")
    sending.write(b"live", b"live")
    asked, granted, count = asyncio.Event(), asyncio.Event(), 0

    class LongTurn(Turns):
        """Another frontend's turn, as long as the test wants."""

        async def take(self):
            nonlocal count
            count += 1
            asked.set()
            await granted.wait()
            await super().take()

    sending.use(bulk_turns=LongTurn())
    async with sending.open():
        sending.mark(b"bulk")
        await asked.wait()
        sending.offer(sending.whole(b"live"))
        granted.set()
        await sending.times_sent(b"bulk", 1)
        assert [change.path for change in sending.sent()] == [b"live", b"bulk"]
        # The turn is not given up for the live change: as long as these keep coming, bulk would not be sent at all.
        assert count == 1


async def test_a_delta_is_sent_only_to_a_frontend_with_the_previous_version(sending):
    sending.write(b"f", b"version 1, version 2")
    async with sending.open():
        assert not sending.offer(sending.delta(b"f", 9))
        whole = await sending.times_sent(b"f", 1)
        assert sending.channel.of(BeginFile) == []

        # The previous version is in flight: a delta may follow it.
        assert sending.offer(sending.delta(b"f", 9), compared=True)
        delta = await sending.times_sent(b"f", 2)
        assert sending.channel.of(BeginFile)[0].delta
        sending.accept(whole.number, delta.number)
        await eventually(lambda: not sending.dirty, "the answers")

        sending.fill_window()
        sending.mark(b"f")
        sending.dirty.connection_lost()  # it is queued again
        assert not sending.offer(sending.delta(b"f", 9), compared=True)


async def test_attributes_alone_are_sent_only_to_a_frontend_that_has_confirmed_the_version(sending):
    """They would be applied to another version of the same size and time if the one in flight is refused."""
    sending.write(b"f", b"content")
    entry = sending.catalog.records[b"f"].entry
    async with sending.open():
        attributes = encode_update(attributes_change(1, b"f", entry, content=False))
        assert sending.offer(attributes, compared=True)
        assert isinstance(await sending.times_sent(b"f", 1), SetAttributes)
        assert not sending.offer(attributes, compared=True)
        again = await sending.times_sent(b"f", 2)
        assert (type(again), again.digest) == (SetAttributes, entry.digest)


async def test_a_prepared_frame_is_not_sent_under_the_old_name_after_a_move(sending):
    sending.source.mkdir(b"d")
    sending.write(b"d/f", b"content")
    async with sending.open():
        sending.fill_window()
        sending.mark(b"d/f")
        await sending.prepared(1)
        sending.catalog.move(b"d", b"e")
        for name in (b"", b"/f"):
            sending.source.nodes[b"e" + name] = sending.source.nodes.pop(b"d" + name)
        sending.offer(encode_update(move_change(1, b"d", b"e")), compared=True)
        sending.make_room()
        await sending.times_sent(b"e/f", 1)

    assert [(type(change), change.path) for change in sending.sent()] == [
        (Move, b"d"),
        (PutFile, b"e/f"),
    ]


async def test_a_large_file_that_was_removed_before_its_first_frame_is_sent_is_not_begun(sending):
    # The frontend would create the directories above it, which were removed here, and would never be removed there.
    sending.write(b"gone/big", BIG)
    sending.write(b"other", BIG)
    async with sending.open():
        sending.fill_window()
        sending.mark(b"gone/big")
        await eventually(lambda: sending.frames_waiting == 4, "all frames")
        sending.source.nodes.pop(b"gone/big")
        sending.scan()
        sending.mark(b"gone/big", b"other")
        sending.make_room()
        await eventually(lambda: any(data.end for data in sending.channel.of(Data)), "the other")

    assert [type(change) for change in sending.sent(b"gone/big")] == [Delete]
    (other,) = sending.sent(b"other")
    assert {data.number for data in sending.channel.of(Data)} == {other.number}


async def test_a_closed_sender_keeps_nothing_that_it_had_queued(sending):
    for path in (b"live", b"bulk"):
        sending.write(path, path)
    async with sending.open():
        sending.fill_window()
        sending.mark(b"bulk")
        await sending.prepared(1)
    sending.offer(sending.whole(b"live"))
    queued = [weakref.ref(one) for one in sending.queued]
    assert len(queued) == 2
    assert all(ref() is not None for ref in queued)
    sending.sender.close()
    gc.collect()  # cancelled tasks may still refer to what they prepared, in cycles
    assert [ref() for ref in queued] == [None, None]


async def test_a_shared_frame_is_not_in_flight_twice(sending):
    sending.write(b"f", b"content")
    async with sending.open():
        sending.mark(b"f")
        first = await sending.times_sent(b"f", 1)
        sending.mark(b"f")  # the same version again: its frame is in the cache, with its number
        await sending.prepared(2)
        sending.offer(encode_update(delete_change(1, b"marker")), compared=True)
        await sending.times_sent(b"marker", 1)
        assert len(sending.sent(b"f")) == 1
        sending.accept(first.number)
        second = await sending.times_sent(b"f", 2)
        sending.accept(second.number)
        await eventually(lambda: Key(1, b"f") not in sending.dirty, "the second answer")

    assert second.number == first.number


async def test_a_frame_that_is_in_flight_already_is_not_prepared_in_a_busy_loop(sending):
    sending.write(b"f", b"content")
    async with sending.open():
        sending.mark(b"f")
        await sending.times_sent(b"f", 1)
        sending.mark(b"f")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await eventually(lambda: sending.bucket.frames > 20, "a busy loop")


async def test_a_refused_path_is_not_retried_in_a_busy_loop_while_there_is_no_room(sending):
    paths = [b"f%d" % number for number in range(PREPARED + 4)]
    for path in paths:
        sending.write(path, b"x" * 200_000)
    async with sending.open():
        sending.fill_window()
        refused = Key(1, b"refused")
        now = asyncio.get_running_loop().time()
        sending.dirty.mark(refused, PendingKind.CONTENT, now, urgent=False)
        (pending,) = sending.dirty.take(now, 1)
        sending.dirty.refused(pending.key, pending.generation, PendingKind.CONTENT, "denied")
        sending.mark(*paths)
        await sending.prepared(PREPARED)
        sending.dirty.block(refused, now)

        asked = []
        next_retry = sending.dirty.next_retry
        sending.dirty.next_retry = lambda: asked.append(1) or next_retry()
        sending.sender.wake()
        await turns(1000)
        assert len(asked) < 10

        sending.make_room()
        answered = set()

        def is_tried_again():
            numbers = {change.number for change in sending.sent()} - answered
            if numbers:
                answered.update(numbers)
                sending.accept(*numbers)
            return refused not in sending.dirty

        await eventually(is_tried_again, "the refused path to be tried again")


HUGE = Entry(FILE, 0o644, WORK, 7, b"", b"d" * 32)


async def test_large_copies_are_sent_one_after_the_other_and_other_changes_overtake_them(
    sending,
):
    sending.write(b"live", b"live")
    sending.write(b"bulk", b"bulk")
    sending.sender.links = True
    async with sending.open():
        for encoded in encode_links(
            [link_change(1, b"copy%d" % n, HUGE, b"base", copy=True) for n in range(3)]
        ):
            assert sending.offer(encoded, compared=True)
        first = await sending.times_sent(b"copy0", 1)
        sending.mark(b"bulk")
        await sending.prepared(1)
        sending.offer(sending.whole(b"live"))
        await sending.times_sent(b"live", 1)
        assert [change.path for change in sending.sent()] == [b"copy0", b"live"]
        sending.accept(first.number)
        await sending.times_sent(b"bulk", 1)
        second = await sending.times_sent(b"copy1", 1)
        assert sending.sent(b"copy2") == []
        sending.accept(second.number)
        third = await sending.times_sent(b"copy2", 1)
        sending.accept(third.number)
        await eventually(lambda: Key(1, b"copy2") not in sending.dirty, "the answer")


async def test_a_copy_of_a_file_that_has_changed_meanwhile_is_sent_as_content(sending):
    """The file to copy may be of the same size, mode and time: the frontend could not detect it."""
    sending.write(b"base", b"content")
    sending.write(b"copy", b"content")
    sending.sender.links = True
    async with sending.open():
        for encoded in encode_links(
            [link_change(1, path, HUGE, b"base", copy=True) for path in (b"a", b"copy")]
        ):
            sending.offer(encoded, compared=True)
        first = await sending.times_sent(b"a", 1)
        sending.write(b"base", b"CONTENT")
        sending.offer(sending.whole(b"base"))
        base = await sending.times_sent(b"base", 1)
        sending.accept(base.number, first.number)
        adopted = await sending.times_sent(b"copy", 1)
        assert isinstance(adopted, SetAttributes)
        sending.refuse(adopted.number, BASE_MISMATCH)
        content = await sending.times_sent(b"copy", 2)
        assert isinstance(content, PutFile)
    assert not any(isinstance(change, Link) for change in sending.sent(b"copy"))


async def test_a_deletion_does_not_overtake_content_that_was_pending_before_and_has_changed_again(
    sending,
):
    """`current` was switched, the old release is deleted, and `current` is switched again."""
    sending.write(b"old", b"content")
    sending.write(b"current", b"7")
    async with sending.open():
        sending.fill_window()
        sending.mark(b"current", urgent=True)
        await sending.prepared(1)
        sending.source.nodes.pop(b"old")
        sending.scan()
        sending.offer(replace(encode_update(delete_change(1, b"old")), frames=()))
        await sending.prepared(2)
        sending.write(b"current", b"8")
        sending.mark(b"current", urgent=True)
        await sending.prepared(3)
        sending.make_room()
        await sending.times_sent(b"old", 1)
    assert [(change.path, type(change)) for change in sending.sent()] == [
        (b"current", PutFile),
        (b"old", Delete),
    ]
    assert sending.contents() == [b"8"]


async def test_a_live_deletion_does_not_overtake_content_that_is_waiting(sending):
    sending.write(b"current", b"7")
    sending.mark(b"current")
    assert not sending.offer(encode_update(delete_change(1, b"old")), compared=True)
    async with sending.open():
        await sending.times_sent(b"old", 1)
    assert [change.path for change in sending.sent()] == [b"current", b"old"]


async def test_a_live_deletion_does_not_overtake_content_that_was_taken_and_is_not_queued_yet(
    sending,
):
    """The frame waits for the limited rate of a bootstrap."""
    sending.write(b"current", b"7")
    delays = []

    def delay(_size, _now):
        delays.append(0.2)
        return 0.2

    sending.bucket.delay = delay
    async with sending.open():
        sending.mark(b"current", urgent=True)
        await eventually(lambda: delays, "the read")
        sending.offer(encode_update(delete_change(1, b"old")), compared=True)
        await sending.times_sent(b"current", 1)
        await sending.times_sent(b"old", 1)
    assert [change.path for change in sending.sent()] == [b"current", b"old"]


async def test_a_live_deletion_does_not_overtake_content_that_waits_for_room(sending):
    sending.write(b"current", b"8")
    async with sending.open():
        sending.fill_window()
        sending.mark(b"current", urgent=True)
        await sending.prepared(1)
        assert not sending.offer(encode_update(delete_change(1, b"old")), compared=True)
        await sending.prepared(2)
        sending.make_room()
        await sending.times_sent(b"old", 1)
    assert [change.path for change in sending.sent()] == [b"current", b"old"]
