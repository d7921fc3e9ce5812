"""The courier: nothing stale is sent, nothing is forgotten, and live changes wait for nobody."""

import asyncio
import weakref

import pytest

from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.create import delete_path, link_file, set_attributes
from replicator.engine.changes.encode import encode_links, encode_update
from replicator.engine.frontend.in_flight import WORK
from replicator.engine.frontend.sender import PREPARED
from replicator.model import FILE, Entry
from replicator.wire.changes import BASE_MISMATCH, Delete, Link, PutFile, SetAttributes
from replicator.wire.messages import BeginFile, Data
from tests.support.route import BIG
from tests.support.waiting import eventually, turns


async def test_what_was_read_under_an_older_generation_is_not_sent(route):
    route.write(b"f", b"old")
    async with route.open():
        route.fill_window()
        route.mark(b"f")
        await route.prepared(1)
        route.write(b"f", b"new")
        route.mark(b"f")
        route.make_room()
        await route.times_sent(b"f", 1)

    assert route.contents() == [b"new"]


async def test_live_parcels_wait_neither_for_room_nor_for_prepared_bulk(route):
    for path in (b"first", b"bulk", b"live", b"later bulk", b"later live"):
        route.write(path, path)
    async with route.open():
        route.channel.open.clear()
        route.mark(b"first")
        await route.times_sent(b"first", 1)
        route.mark(b"bulk")
        await route.prepared(2)
        route.sender.post(route.whole(b"live"), builds=False)
        route.channel.open.set()
        await route.times_sent(b"bulk", 1)
        assert [change.path for change in route.sent()] == [b"first", b"live", b"bulk"]

        route.fill_window()
        route.mark(b"later bulk")
        await route.prepared(3)
        route.sender.post(route.whole(b"later live"), builds=False)
        await route.times_sent(b"later live", 1)
        assert route.sent(b"later bulk") == []


async def test_a_delta_goes_only_to_who_holds_the_version_before(route):
    route.write(b"f", b"version 1, version 2")
    async with route.open():
        assert not route.sender.post(route.delta(b"f", 9), builds=False)
        whole = await route.times_sent(b"f", 1)
        assert route.channel.of(BeginFile) == []

        # The version before is on its way: a delta may follow it.
        assert route.sender.post(route.delta(b"f", 9), builds=True)
        delta = await route.times_sent(b"f", 2)
        assert route.channel.of(BeginFile)[0].delta
        route.accept(whole.number, delta.number)
        await eventually(lambda: not route.dirty, "the answers")

        route.fill_window()
        route.mark(b"f")
        route.dirty.connection_lost()  # it waits again
        assert not route.sender.post(route.delta(b"f", 9), builds=True)


async def test_attributes_alone_go_only_to_who_has_confirmed_the_version(route):
    """They would pass for another version of the same size and time, if the one under way is refused."""
    route.write(b"f", b"content")
    entry = route.catalog.records[b"f"].entry
    async with route.open():
        attributes = encode_update(set_attributes(1, b"f", entry, content=False))
        assert route.sender.post(attributes, builds=True)
        assert isinstance(await route.times_sent(b"f", 1), SetAttributes)
        assert not route.sender.post(attributes, builds=True)
        again = await route.times_sent(b"f", 2)
        assert (type(again), again.digest) == (SetAttributes, entry.digest)


async def test_a_large_file_that_is_gone_before_its_first_frame_is_sent_is_not_begun(route):
    # The frontend would make the directories above it, which are gone here and nobody would remove there.
    route.write(b"gone/big", BIG)
    route.write(b"other", BIG)
    async with route.open():
        route.fill_window()
        route.mark(b"gone/big")
        await eventually(lambda: len(route.sender._prepared) == 4, "all frames")
        route.source.nodes.pop(b"gone/big")
        route.scan()
        route.mark(b"gone/big", b"other")
        route.make_room()
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the other")

    assert [type(change) for change in route.sent(b"gone/big")] == [Delete]
    (other,) = route.sent(b"other")
    assert {data.number for data in route.channel.of(Data)} == {other.number}


async def test_a_closed_courier_holds_on_to_nothing_that_it_had_queued(route):
    for path in (b"live", b"bulk"):
        route.write(path, path)
    async with route.open():
        route.fill_window()
        route.mark(b"bulk")
        await route.prepared(1)
    encoded = route.whole(b"live")
    route.sender.post(encoded, builds=False)
    held = [weakref.ref(encoded), weakref.ref(route.sender._prepared[0])]
    del encoded
    assert all(ref() is not None for ref in held)
    route.sender.close()
    assert [ref() for ref in held] == [None, None]


async def test_a_shared_frame_is_not_under_way_twice(route):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        first = await route.times_sent(b"f", 1)
        route.mark(b"f")  # the same version again: its frame is in the cache, with its number
        await route.prepared(2)
        route.sender.post(encode_update(delete_path(1, b"marker")), builds=True)
        await route.times_sent(b"marker", 1)
        assert len(route.sent(b"f")) == 1
        route.accept(first.number)
        second = await route.times_sent(b"f", 2)
        route.accept(second.number)
        await eventually(lambda: Key(1, b"f") not in route.dirty, "the second answer")

    assert second.number == first.number


async def test_a_frame_that_waits_for_the_answer_to_its_twin_does_not_turn_in_circles(route):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        await route.times_sent(b"f", 1)
        route.mark(b"f")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await eventually(lambda: route.listener.frames > 20, "a busy loop")


async def test_a_refused_path_that_is_due_does_not_turn_in_circles_while_there_is_no_room(route):
    paths = [b"f%d" % number for number in range(PREPARED + 4)]
    for path in paths:
        route.write(path, b"x" * 200_000)
    async with route.open():
        route.fill_window()
        refused = Key(1, b"refused")
        now = asyncio.get_running_loop().time()
        route.dirty.mark(refused, PendingKind.CONTENT, now, urgent=False)
        (due,) = route.dirty.take(now, 1)
        route.dirty.refused(due.key, due.generation, PendingKind.CONTENT, "denied")
        route.mark(*paths)
        await route.prepared(PREPARED)
        route.dirty.block(refused, now)

        asked = []
        next_retry = route.dirty.next_retry
        route.dirty.next_retry = lambda: asked.append(1) or next_retry()
        route.sender.wake()
        await turns(1000)
        assert len(asked) < 10

        route.make_room()
        answered = set()

        def is_tried_again():
            numbers = {change.number for change in route.sent()} - answered
            if numbers:
                answered.update(numbers)
                route.accept(*numbers)
            return refused not in route.dirty

        await eventually(is_tried_again, "the refused path to be tried again")


HUGE = Entry(FILE, 0o644, WORK, 7, b"", b"d" * 32)


async def test_large_copies_are_sent_one_after_the_other_and_other_changes_and_bulk_pass_them(
    route,
):
    route.write(b"live", b"live")
    route.write(b"bulk", b"bulk")
    route.sender.links = True
    async with route.open():
        for encoded in encode_links(
            [link_file(1, b"copy%d" % n, HUGE, b"base", copy=True) for n in range(3)]
        ):
            assert route.sender.post(encoded, builds=True)
        first = await route.times_sent(b"copy0", 1)
        route.mark(b"bulk")
        await route.prepared(1)
        route.sender.post(route.whole(b"live"), builds=False)
        await route.times_sent(b"live", 1)
        assert [change.path for change in route.sent()] == [b"copy0", b"live"]
        route.accept(first.number)
        await route.times_sent(b"bulk", 1)
        second = await route.times_sent(b"copy1", 1)
        assert route.sent(b"copy2") == []
        route.accept(second.number)
        third = await route.times_sent(b"copy2", 1)
        route.accept(third.number)
        await eventually(lambda: Key(1, b"copy2") not in route.dirty, "the answer")


async def test_a_copy_of_what_has_changed_meanwhile_is_sent_as_content(route):
    """The file to copy may be of the same size, mode and time: the frontend could not tell."""
    route.write(b"base", b"content")
    route.write(b"copy", b"content")
    route.sender.links = True
    async with route.open():
        for encoded in encode_links(
            [link_file(1, path, HUGE, b"base", copy=True) for path in (b"a", b"copy")]
        ):
            route.sender.post(encoded, builds=True)
        first = await route.times_sent(b"a", 1)
        route.write(b"base", b"CONTENT")
        route.sender.post(route.whole(b"base"), builds=False)
        base = await route.times_sent(b"base", 1)
        route.accept(base.number, first.number)
        adopted = await route.times_sent(b"copy", 1)
        assert isinstance(adopted, SetAttributes)
        route.refuse(adopted.number, BASE_MISMATCH)
        content = await route.times_sent(b"copy", 2)
        assert isinstance(content, PutFile)
    assert not any(isinstance(change, Link) for change in route.sent(b"copy"))
