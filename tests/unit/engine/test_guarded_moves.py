"""Renames of directories on one frontend: no content is sent, and what cannot be trusted is compared."""

import random

import pytest

from replicator.model import FILE, ROOT, Entry, is_within
from replicator.wire.changes import Move, SetAttributes
from replicator.wire.messages import Batch, ListTree
from tests.support.frontends import at
from tests.support.waiting import eventually, turns


def listed(stage):
    return [request.below for request in stage.now.of(ListTree) if request.below != ROOT]


def answer(stage, since):
    """Let the frontend apply the batches that it has not answered."""
    stage.now.mute.clear()
    for message in stage.now.of(Batch)[since:]:
        stage.now.answer(message)


@pytest.fixture
async def live(stage):
    for directory in (b"d", b"other"):
        stage.source.mkdir(directory)
        stage.write(directory + b"/f", b"content of " + directory)
    await stage.live()
    await eventually(lambda: stage.replica.converged, "both directories")
    return stage


async def converged(stage):
    await eventually(lambda: stage.replica.converged, "nothing more to do")
    assert stage.disk.keys() == stage.source.nodes.keys()
    for path, record in stage.catalog.records.items():
        assert stage.disk[path].digest == record.entry.digest, path


async def test_where_nothing_is_in_doubt_a_move_is_all_that_is_sent(live):
    before = len(live.now.heard)
    live.rename(b"d", b"e")
    await converged(live)
    assert [type(c) for m in live.now.heard[before:] for c in m.changes] == [Move]


async def test_what_is_dirty_elsewhere_makes_no_move_uncertain(live):
    live.now.refusals[b"other/g"] = ("denied", "no")
    live.replica.offer(live.write(b"other/g", b"more"))
    live.replica.resync_queue.request(at(b"other"))
    live.rename(b"d", b"e")
    await eventually(lambda: b"e/f" in live.disk, "the move")
    assert live.now.changes(b"e/f") == []
    assert b"e" not in listed(live)


async def test_what_was_in_flight_below_the_old_name_is_neither_lost_nor_sent_twice(live):
    live.now.mute.add(Batch)
    since = len(live.now.of(Batch))
    live.replica.offer(live.write(b"d/arrives", b"a file"))
    live.rename(b"d", b"e")
    await eventually(lambda: live.now.changes(b"e/arrives"), "the check of the digest")
    answer(live, since)
    await converged(live)
    assert [type(change) for change in live.now.changes(b"e/arrives")] == [SetAttributes]
    assert listed(live) == []


async def test_what_was_refused_below_the_old_name_arrives_under_the_new_one(live):
    live.now.refusals[b"d/g"] = ("denied", "no")
    live.replica.offer(live.write(b"d/g", b"a file"))
    await eventually(live.replica.dirty.has_refusals, "the refusal")
    live.rename(b"d", b"e")
    await converged(live)
    assert live.now.changes(b"e/g")


async def test_a_deletion_of_before_the_move_does_not_remove_what_the_move_brings(live):
    """The target existed before: its files are still to be deleted, and one of the moved ones has the same name."""
    live.source.mkdir(b"new")
    live.write(b"new/f", b"an old file")
    live.replica.repair([at(b"new"), at(b"new/f")])
    await converged(live)
    live.source.remove(b"new")
    live.scan(b"d/f")  # the catalog forgets the target
    live.replica.repair([at(b"new"), at(b"new/f")])  # not sent before the move
    live.rename(b"d", b"new")
    await converged(live)


async def test_the_target_of_a_move_from_a_directory_in_doubt_is_compared_after_the_move(live):
    del live.disk[b"d/f"]
    live.now.mute |= {Batch, ListTree}
    first, since = live.now, len(live.now.of(Batch))
    live.replica.resync_queue.request(at(b"d"))
    live.rename(b"d", b"e")
    await eventually(lambda: live.now.moves(b"d"), "the move")
    assert b"e" not in listed(live)  # the listing must not be older than the move
    assert not live.replica.converged
    answer(live, since)
    for request in [one for one in live.now.of(ListTree) if one.below == b"d"]:
        live.now.list(request)
    await eventually(lambda: b"e" in listed(live), "the comparison")
    await converged(live)
    assert live.now is first


async def test_a_move_that_builds_on_a_refused_one_is_put_right(live):
    """The frontend refuses the first of two renames, and has a file of its own where the second one begins."""
    live.source.mkdir(b"d/sub")
    live.write(b"d/sub/f", b"deep")
    live.replica.repair([at(b"d/sub"), at(b"d/sub/f")])
    await converged(live)
    live.disk.update({b"e": live.disk[b"d"], b"e/sub": live.disk[b"d"]})
    live.disk[b"e/sub/stale"] = Entry(FILE, 0o644, 1, 1)
    live.now.mute.add(Batch)
    since = len(live.now.of(Batch))
    live.rename(b"d", b"e")
    live.rename(b"e/sub", b"c")
    await eventually(lambda: live.now.changes(b"e/sub"), "both moves")
    answer(live, since)
    await converged(live)


async def test_a_move_in_flight_when_the_connection_is_lost_is_found_out(live):
    live.now.mute.add(Batch)
    live.rename(b"d", b"e")
    await eventually(lambda: live.now.moves(b"d"), "the move")
    first = live.now
    live.now.hang_up()
    await eventually(lambda: live.now is not first, "another connection")
    await live.live()
    await converged(live)


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_is_renamed_changed_and_refused_the_frontend_becomes_equal(stage, seed):
    choose = random.Random(seed)
    for directory in (b"a", b"b", b"b/c"):
        stage.source.mkdir(directory)
        stage.write(directory + b"/f", directory)
    await stage.live()
    for number in range(25):
        directories = [p for p in stage.source.nodes if stage.source.nodes[p].kind != FILE]
        source = choose.choice(directories)
        above = choose.choice([b"", *directories])
        target = above + b"/x%d" % number if above else b"x%d" % number
        step = choose.random()
        if step < 0.4 and not is_within(target, source):
            stage.rename(source, target)
        elif step < 0.6:
            stage.replica.offer(stage.write(source + b"/f", b"version %d" % number))
        elif step < 0.7 and stage.disk:
            del stage.disk[lost := choose.choice(list(stage.disk))]
            stage.replica.resync_queue.request(at(lost))
        elif step < 0.8:
            name = choose.choice(directories)
            stage.now.refusals = {} if stage.now.refusals else {name: ("vanished", "a race")}
        elif step < 0.85:
            stage.replica.resync()
        elif step < 0.9:
            stage.now.hang_up()
        if choose.random() < 0.5:
            await turns(choose.randrange(1, 30))
    stage.now.refusals = {}
    stage.prepare = lambda agent: None
    await stage.live()
    await eventually(
        lambda: stage.replica.converged and stage.disk.keys() == stage.source.nodes.keys(),
        lambda: f"{stage.disk.keys() ^ stage.source.nodes.keys()} {list(stage.replica.dirty)}",
    )
    await converged(stage)
