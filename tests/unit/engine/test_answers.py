"""Answers: what is refused is tried again and told, and what a refusal says of the frontend is followed up."""

import asyncio

import pytest

from replicator.core.pending import Key
from replicator.engine.changes.create import move_path
from replicator.engine.changes.encode import encode_update
from replicator.engine.frontend.acks import KEPT_AFTER, PATIENCE
from replicator.ports import BEING_WRITTEN
from replicator.wire.changes import Delete
from tests.support.waiting import eventually


@pytest.mark.parametrize("reason", ["", "denied"])
async def test_an_answer_to_an_older_version_means_nothing(route, reason):
    route.write(b"f", b"old")
    async with route.open():
        route.mark(b"f")
        old = await route.times_sent(b"f", 1)
        route.write(b"f", b"new")
        route.mark(b"f")
        new = await route.times_sent(b"f", 2)
        route.refuse(old.number, reason) if reason else route.accept(old.number)
        await eventually(lambda: not route.link.is_in_flight(old.number), "the first answer")
        assert Key(1, b"f") in route.dirty
        assert route.listener.clean == route.listener.troubles == []
        route.accept(new.number)
        await eventually(lambda: route.listener.clean == [b"f"], "the second answer")

    assert not route.dirty


async def test_a_refused_path_is_tried_again_after_its_delay_and_its_reason_is_told(route):
    route.retry(0.15)
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        first = await route.times_sent(b"f", 1)
        route.refuse(first.number, "denied", "EACCES: f")
        await eventually(lambda: route.listener.troubles, "the trouble")
        told = asyncio.get_running_loop().time()
        assert route.listener.troubles == [(b"f", "EACCES: f")]
        assert route.dirty.problems(9) == [(Key(1, b"f"), "denied: EACCES: f")]

        second = await route.times_sent(b"f", 2)
        assert asyncio.get_running_loop().time() - told > 0.12
        route.refuse(second.number, "denied")
        await eventually(lambda: len(route.listener.troubles) == 2, "the second trouble")
        assert route.listener.troubles[1] == (b"f", "denied")
        assert route.dirty.next_retry() - asyncio.get_running_loop().time() > 0.2  # it doubles


async def test_a_base_mismatch_leads_to_the_whole_file_at_once(route):
    route.write(b"f", b"version 1, version 2")
    async with route.open():
        assert route.sender.post(route.delta(b"f", 9), builds=True)
        delta = await route.times_sent(b"f", 1)
        route.refuse(delta.number, "base_mismatch", "another file")
        whole = await route.times_sent(b"f", 2)
        assert route.contents()[-1] == b"version 1, version 2"
        assert route.listener.troubles == []

        # It cannot happen to a whole file; if it does, it is no reason to turn in circles.
        route.refuse(whole.number, "base_mismatch", "another file")
        await eventually(lambda: route.listener.troubles, "the trouble")


@pytest.mark.parametrize("reason", ["digest_mismatch", "vanished"])
async def test_a_race_is_no_trouble_until_it_has_lasted(route, reason):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        for times in (1, 2):
            sent = await route.times_sent(b"f", times)
            route.refuse(sent.number, reason)
        sent = await route.times_sent(b"f", 3)
        assert route.listener.troubles == []
        assert not route.dirty.has_reasons()
        await asyncio.sleep(PATIENCE)
        route.refuse(sent.number, reason, "again")
        await eventually(lambda: route.listener.troubles, "the trouble")
        assert route.dirty.problems(9) == [(Key(1, b"f"), f"{reason}: again")]


async def test_a_file_that_is_being_written_is_no_trouble_until_it_has_lasted(route):
    route.source.write(b"f", b"content")
    route.catalog.put(b"f", route.source.nodes[b"f"].entry, problem=BEING_WRITTEN)
    route.retry(0.05)
    async with route.open():
        route.mark(b"f")
        await eventually(lambda: len(route.listener.delays) > 1, "two attempts")
        assert route.listener.troubles == []
        assert not route.dirty.has_reasons()
        assert len(route.dirty) == 1
        await asyncio.sleep(PATIENCE)
        await eventually(lambda: route.listener.troubles, "the trouble")


async def test_many_changes_in_a_directory_that_is_not_there_yet_wait_for_it_without_a_pause(route):
    """The directory must not be marked again with each of them, or it would be sent last."""
    route.source.mkdir(b"d")
    names = [b"d/%03d" % number for number in range(300)]
    for name in names:
        route.write(name, b"content")
    async with route.open():
        for name in names:
            route.mark(name)
        for name in names:
            sent = await route.times_sent(name, 1)
            route.refuse(sent.number, "vanished", "its directory is not there")
        for name in names:
            await route.times_sent(name, 2)
    order = [change.path for change in route.sent()]
    assert order.count(b"d") == 1
    first = order.index(b"d")
    early = {n: [i for i, p in enumerate(order) if p == n] for n in names if n not in order[first:]}
    assert not early, (first, len(order), early)
    assert route.listener.troubles == []


async def test_what_lacks_a_directory_that_is_refused_itself_is_a_trouble(route):
    route.source.mkdir(b"d")
    route.write(b"d/f", b"content")
    async with route.open():
        route.mark(b"d")
        made = await route.times_sent(b"d", 1)
        route.refuse(made.number, "denied", "Permission denied")
        route.mark(b"d/f")
        await eventually(lambda: route.listener.troubles, "the first trouble")
        sent = await route.times_sent(b"d/f", 1)
        route.refuse(sent.number, "vanished", "its directory is not there")
        sent = await route.times_sent(b"d/f", 2)
        route.refuse(sent.number, "vanished", "its directory is not there")
        await eventually(lambda: not route.link.is_in_flight(sent.number), "the answer")
    assert [change.path for change in route.sent()].count(b"d") == 1


async def test_what_lacks_its_directory_there_is_sent_again_after_all_directories_above_it(route):
    route.source.mkdir(b"a")
    route.source.mkdir(b"a/b")
    route.write(b"a/b/f", b"content")
    async with route.open():
        route.mark(b"a/b/f")
        lost = await route.times_sent(b"a/b/f", 1)
        route.refuse(lost.number, "vanished")
        await route.times_sent(b"a/b/f", 2)

    assert [change.path for change in route.sent()] == [b"a/b/f", b"a", b"a/b", b"a/b/f"]


async def test_what_cannot_be_read_here_is_told_and_is_no_lag_of_the_frontend(route):
    route.write(b"f", b"content")
    route.source.write(b"f", b"changed, and not examined yet")
    route.retry(0.05)
    async with route.open():
        route.mark(b"f")
        await eventually(lambda: route.listener.troubles, "the trouble")
        assert route.rechecked[0] == b"f"
        assert route.dirty.oldest_sendable() is None
        assert route.sent() == []
        route.scan()
        await route.times_sent(b"f", 1)

    assert b"on the backend" in route.listener.troubles[0][1].encode()


async def test_a_directory_that_is_not_empty_waits_for_deletes_and_is_kept_in_the_end(route):
    async with route.open():
        route.mark(b"d", b"d/ours")
        below, above = await route.times_sent(b"d/ours", 1), await route.times_sent(b"d", 1)
        route.refuse(above.number, "not_empty", "holds two")
        again = await route.times_sent(b"d", 2)
        assert route.listener.doubts == []  # a delete below it is under way
        route.accept(below.number)
        await eventually(lambda: Key(1, b"d/ours") not in route.dirty, "the delete below")

        for times in range(3, KEPT_AFTER + 2):
            route.refuse(again.number, "not_empty", "holds .git")
            again = await route.times_sent(b"d", times)
        assert set(route.listener.doubts) == {b"d"}
        assert Key(1, b"d") in route.dirty
        route.refuse(again.number, "not_empty", "holds .git")
        await eventually(lambda: not route.dirty, "the end of the attempts")

    assert route.listener.troubles[-1] == (b"d", "kept, because it holds files that are not ours")


@pytest.mark.parametrize("uncertain", [False, True])
async def test_the_target_of_an_uncertain_move_is_compared_after_the_answer(route, uncertain):
    async with route.open():
        route.sender.post_move(encode_update(move_path(1, b"a", b"b")), uncertain=uncertain)
        move = await route.times_sent(b"a", 1)
        assert not route.listener.doubts
        route.accept(move.number)
        await eventually(lambda: not route.dirty, "the answer")

    assert route.listener.doubts == [b"b"] * uncertain
    assert route.listener.clean == [b"a"]


async def test_after_a_refused_move_the_old_name_is_deleted_and_both_are_compared(route):
    async with route.open():
        route.sender.post_move(encode_update(move_path(1, b"a", b"b")), uncertain=False)
        move = await route.times_sent(b"a", 1)
        route.refuse(move.number, "vanished")
        assert isinstance(await route.times_sent(b"a", 2), Delete)

    assert route.listener.doubts == [b"a", b"b"]
