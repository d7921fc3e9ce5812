"""Answers: a refused path is tried again and reported, and a comparison is requested where the frontend may differ."""

import asyncio

import pytest

from replicator.core.pending import Key
from replicator.engine.changes.create import move_change
from replicator.engine.changes.encode import encode_update
from replicator.engine.frontend.answers import KEPT_AFTER, PATIENCE
from replicator.ports import BEING_WRITTEN
from replicator.wire.changes import Delete
from tests.support.waiting import eventually


@pytest.mark.parametrize("reason", ["", "denied"])
async def test_an_answer_to_an_earlier_version_is_ignored(sending, reason):
    sending.write(b"f", b"old")
    async with sending.open():
        sending.mark(b"f")
        old = await sending.times_sent(b"f", 1)
        sending.write(b"f", b"new")
        sending.mark(b"f")
        new = await sending.times_sent(b"f", 2)
        sending.refuse(old.number, reason) if reason else sending.accept(old.number)
        await eventually(
            lambda: not sending.connection.is_in_flight(old.number), "the first answer"
        )
        assert Key(1, b"f") in sending.dirty
        assert sending.errors.confirmed == sending.errors.refusals == []
        sending.accept(new.number)
        await eventually(lambda: sending.errors.confirmed == [b"f"], "the second answer")

    assert not sending.dirty


async def test_a_refused_path_is_tried_again_after_its_delay_and_its_reason_is_reported(sending):
    sending.retry(0.15)
    sending.write(b"f", b"content")
    async with sending.open():
        sending.mark(b"f")
        first = await sending.times_sent(b"f", 1)
        sending.refuse(first.number, "denied", "EACCES: f")
        await eventually(lambda: sending.errors.refusals, "the error")
        refused_at = asyncio.get_running_loop().time()
        assert sending.errors.refusals == [(b"f", "EACCES: f")]
        assert sending.dirty.problems(9) == [(Key(1, b"f"), "denied: EACCES: f")]

        second = await sending.times_sent(b"f", 2)
        assert asyncio.get_running_loop().time() - refused_at > 0.12
        sending.refuse(second.number, "denied")
        await eventually(lambda: len(sending.errors.refusals) == 2, "the second error")
        assert sending.errors.refusals[1] == (b"f", "denied")
        assert sending.dirty.next_retry() - asyncio.get_running_loop().time() > 0.2  # it doubles


async def test_a_base_mismatch_leads_to_the_whole_file_at_once(sending):
    sending.write(b"f", b"version 1, version 2")
    async with sending.open():
        assert sending.offer(sending.delta(b"f", 9), compared=True)
        delta = await sending.times_sent(b"f", 1)
        sending.refuse(delta.number, "base_mismatch", "another file")
        whole = await sending.times_sent(b"f", 2)
        assert sending.contents()[-1] == b"version 1, version 2"
        assert sending.errors.refusals == []

        # It cannot happen to a whole file; if it does, it must not be sent again at once for ever.
        sending.refuse(whole.number, "base_mismatch", "another file")
        await eventually(lambda: sending.errors.refusals, "the error")


@pytest.mark.parametrize("reason", ["digest_mismatch", "vanished"])
async def test_a_race_is_no_error_until_it_has_lasted(sending, reason):
    sending.write(b"f", b"content")
    async with sending.open():
        sending.mark(b"f")
        for times in (1, 2):
            sent = await sending.times_sent(b"f", times)
            sending.refuse(sent.number, reason)
        sent = await sending.times_sent(b"f", 3)
        assert sending.errors.refusals == []
        assert not sending.dirty.has_reasons()
        await asyncio.sleep(PATIENCE)
        sending.refuse(sent.number, reason, "again")
        await eventually(lambda: sending.errors.refusals, "the error")
        assert sending.dirty.problems(9) == [(Key(1, b"f"), f"{reason}: again")]


async def test_a_file_that_is_being_written_is_no_error_until_it_has_lasted(sending):
    sending.source.write(b"f", b"content")
    sending.catalog.put(b"f", sending.source.nodes[b"f"].entry, problem=BEING_WRITTEN)
    sending.retry(0.05)
    async with sending.open():
        sending.mark(b"f")
        await eventually(lambda: len(sending.errors.delays) > 1, "two attempts")
        assert sending.errors.refusals == []
        assert not sending.dirty.has_reasons()
        assert len(sending.dirty) == 1
        await asyncio.sleep(PATIENCE)
        await eventually(lambda: sending.errors.refusals, "the error")


async def test_many_changes_in_a_missing_directory_are_sent_again_after_it_without_a_delay(
    sending,
):
    """The directory must not be marked again with each of them, or it would be sent last."""
    sending.source.mkdir(b"d")
    names = [b"d/%03d" % number for number in range(300)]
    for name in names:
        sending.write(name, b"content")
    async with sending.open():
        for name in names:
            sending.mark(name)
        for name in names:
            sent = await sending.times_sent(name, 1)
            sending.refuse(sent.number, "vanished", "its directory is not there")
        for name in names:
            await sending.times_sent(name, 2)
    order = [change.path for change in sending.sent()]
    assert order.count(b"d") == 1
    first = order.index(b"d")
    early = {n: [i for i, p in enumerate(order) if p == n] for n in names if n not in order[first:]}
    assert not early, (first, len(order), early)
    assert sending.errors.refusals == []


async def test_a_path_below_a_refused_directory_is_an_error(sending):
    sending.source.mkdir(b"d")
    sending.write(b"d/f", b"content")
    async with sending.open():
        sending.mark(b"d")
        made = await sending.times_sent(b"d", 1)
        sending.refuse(made.number, "denied", "Permission denied")
        sending.mark(b"d/f")
        await eventually(lambda: sending.errors.refusals, "the first error")
        sent = await sending.times_sent(b"d/f", 1)
        sending.refuse(sent.number, "vanished", "its directory is not there")
        sent = await sending.times_sent(b"d/f", 2)
        sending.refuse(sent.number, "vanished", "its directory is not there")
        await eventually(lambda: not sending.connection.is_in_flight(sent.number), "the answer")
    assert [change.path for change in sending.sent()].count(b"d") == 1


async def test_a_path_whose_directory_is_missing_there_is_sent_again_after_all_directories_above_it(
    sending,
):
    sending.source.mkdir(b"a")
    sending.source.mkdir(b"a/b")
    sending.write(b"a/b/f", b"content")
    async with sending.open():
        sending.mark(b"a/b/f")
        lost = await sending.times_sent(b"a/b/f", 1)
        sending.refuse(lost.number, "vanished")
        await sending.times_sent(b"a/b/f", 2)

    assert [change.path for change in sending.sent()] == [b"a/b/f", b"a", b"a/b", b"a/b/f"]


async def test_a_path_that_the_backend_cannot_read_is_reported_and_is_no_lag(sending):
    sending.write(b"f", b"content")
    sending.source.write(b"f", b"changed, and not examined yet")
    sending.retry(0.05)
    async with sending.open():
        sending.mark(b"f")
        await eventually(lambda: sending.errors.refusals, "the error")
        assert sending.rechecked[0] == b"f"
        assert sending.dirty.oldest(sendable=True) is None
        assert sending.sent() == []
        sending.scan()
        await sending.times_sent(b"f", 1)

    assert b"on the backend" in sending.errors.refusals[0][1].encode()


async def test_a_directory_that_is_not_empty_waits_for_deletes_and_is_kept_in_the_end(sending):
    async with sending.open():
        sending.mark(b"d", b"d/ours")
        below, above = await sending.times_sent(b"d/ours", 1), await sending.times_sent(b"d", 1)
        sending.refuse(above.number, "not_empty", "holds two")
        again = await sending.times_sent(b"d", 2)
        assert await sending.requested() == []  # a delete below it is under way
        sending.accept(below.number)
        await eventually(lambda: Key(1, b"d/ours") not in sending.dirty, "the delete below")

        for times in range(3, KEPT_AFTER + 2):
            sending.refuse(again.number, "not_empty", "holds .git")
            again = await sending.times_sent(b"d", times)
        assert await sending.requested() == [b"d"]
        assert Key(1, b"d") in sending.dirty
        sending.refuse(again.number, "not_empty", "holds .git")
        await eventually(lambda: not sending.dirty, "the end of the attempts")

    assert sending.errors.refusals[-1] == (b"d", "kept, because it holds files that are not ours")


@pytest.mark.parametrize("uncertain", [False, True])
async def test_the_target_of_an_uncertain_move_is_compared_after_the_answer(sending, uncertain):
    async with sending.open():
        sending.offer(encode_update(move_change(1, b"a", b"b")), compared=not uncertain)
        move = await sending.times_sent(b"a", 1)
        assert not await sending.requested()
        sending.accept(move.number)
        await eventually(lambda: not sending.dirty, "the answer")

    assert await sending.requested() == [b"b"] * uncertain
    assert sending.errors.confirmed == [b"a"]


async def test_after_a_refused_move_the_old_name_is_deleted_and_both_are_compared(sending):
    async with sending.open():
        sending.offer(encode_update(move_change(1, b"a", b"b")), compared=True)
        move = await sending.times_sent(b"a", 1)
        sending.refuse(move.number, "vanished")
        assert isinstance(await sending.times_sent(b"a", 2), Delete)

    assert await sending.requested() == [b"a", b"b"]
