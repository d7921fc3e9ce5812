"""A frontend that keeps times in whole seconds: its files are hashed again when it may hold another version of the same second."""

import pytest

from replicator.engine.changes.create import move_change
from replicator.engine.changes.encode import encode_update
from replicator.engine.frontend import resync
from replicator.model import DIRECTORY, Entry
from replicator.wire.changes import ROOT_GONE, VANISHED, SetAttributes
from replicator.wire.messages import Batch
from tests.support.frontends import at
from tests.support.waiting import eventually

SECOND = 1_000_000_000
FILES = [b"a", b"b"]


def seconds(agent):
    agent.boot, agent.identity, agent.granularity = "b-1", "7 1", SECOND


@pytest.fixture
async def filled(stage):
    """A frontend that was compared and filled, and holds two files with rounded times."""
    stage.prepare = seconds
    stage.source.clock = 1_600_000_000_100_000_000
    for path in FILES:
        stage.write(path, b"content")
    await stage.live()
    assert not stage.replica.dirty
    return stage


async def reconnect(stage):
    """Lose the connection, and wait until the next one was compared; return the paths that were hashed there."""
    before = stage.replica.full_comparisons
    stage.now.hang_up()
    return await compared(stage, before)


async def compared(stage, before):
    replica = stage.replica
    await eventually(
        lambda: replica.full_comparisons > before and replica.converged, replica.last_error
    )
    return {path for path in FILES for one in stage.now.changes(path) if hashes(one)}


def hashes(change):
    return isinstance(change, SetAttributes) and bool(change.digest)


async def test_nothing_is_hashed_when_a_frontend_that_was_followed_comes_back(filled):
    assert await reconnect(filled) == set()
    assert await reconnect(filled) == set()
    assert filled.listings() == 1


async def test_what_was_not_compared_before_is_hashed(stage):
    stage.prepare = seconds
    for path in FILES:
        stage.write(path, b"content")
        entry = stage.catalog.records[path].entry
        stage.disks.setdefault("a", {})[path] = entry
    assert await compared_at_first(stage) == set(FILES)
    assert await reconnect(stage) == set()


async def compared_at_first(stage):
    await stage.live()
    return await compared(stage, 0)


ELSEWHERE = [("boot", "b-2"), ("boot", ""), ("identity", "8 1"), ("identity", "")]


@pytest.mark.parametrize(("what", "value"), ELSEWHERE)
async def test_after_another_boot_and_in_another_directory_all_is_hashed(filled, what, value):
    def elsewhere(agent):
        seconds(agent)
        setattr(agent, what, value)

    filled.prepare = elsewhere
    assert await reconnect(filled) == set(FILES)
    assert await reconnect(filled) == (set() if value else set(FILES))


async def test_a_change_of_the_same_second_and_size_arrives_on_a_frontend_that_was_away(filled):
    filled.retry(3600.0)
    filled.now.hang_up()
    await eventually(
        lambda: not filled.replica.pending_paths.is_connected, "the end of the connection"
    )
    before = filled.catalog.records[b"a"].entry
    filled.replica.offer(filled.write(b"a", b"CONTENT"))
    now = filled.catalog.records[b"a"].entry
    assert (now.size, now.mtime_ns // SECOND) == (before.size, before.mtime_ns // SECOND)

    filled.replica.use_targets()
    await eventually(lambda: filled.disk[b"a"].digest == now.digest, "the change")


async def test_a_requested_resync_compares_contents(filled):
    filled.write(b"a", b"CONTENT")
    before = filled.replica.full_comparisons
    filled.replica.resync()
    assert await compared(filled, before) == set(FILES)
    assert filled.disk[b"a"].digest == filled.catalog.records[b"a"].entry.digest
    assert await reconnect(filled) == set()


def one_directory(stage):
    stage.replica.resync_queue.request(at(b"d"))


def many_directories(stage):
    for number in range(resync.MOST_DIRECTORIES + 1):
        stage.replica.resync_queue.request(at(b"%d" % number))


def request(stage):
    stage.replica.resync_queue.request_tree(1)


def overflow(stage):
    stage.replica.pending_paths.clear("the test")


def remove_and_add(stage):
    tree = stage.context.trees.pop(1)
    stage.replica.remove_tree(1)
    stage.context.trees[1] = tree


def rename_while_away(stage):
    stage.replica.offer(rename(b"d", b"e"))


@pytest.mark.parametrize(
    "cause", [one_directory, many_directories, request, overflow, remove_and_add, rename_while_away]
)
async def test_what_cannot_be_known_path_by_path_is_hashed_after_it_arose_while_away(filled, cause):
    filled.retry(3600.0)
    before = filled.replica.full_comparisons
    filled.now.hang_up()
    await eventually(
        lambda: not filled.replica.pending_paths.is_connected, "the end of the connection"
    )
    cause(filled)
    filled.retry(0.001)
    filled.replica.resync_queue.notify()
    assert await compared(filled, before) == set(FILES)
    await reconnect(filled)  # a directory in doubt was perhaps compared after the tree was
    assert await reconnect(filled) == set()


async def test_a_rename_that_was_under_way_when_the_connection_ended_leaves_all_in_doubt(filled):
    filled.now.mute.add(Batch)
    filled.replica.offer(rename(b"d", b"e"))
    await eventually(lambda: filled.now.changes(b"d"), "the rename")
    assert await reconnect(filled) == set(FILES)
    assert await reconnect(filled) == set()


async def test_a_rename_that_was_refused_because_the_root_is_gone_leaves_all_in_doubt(filled):
    before = filled.replica.full_comparisons
    filled.now.refusals[b"d"] = (ROOT_GONE, "moved away")
    filled.replica.offer(rename(b"d", b"e"))
    assert await compared(filled, before) == set(FILES)
    assert await reconnect(filled) == set()


async def test_a_rename_that_was_refused_leaves_all_in_doubt(filled):
    filled.now.refusals[b"d"] = (VANISHED, "not there")
    filled.replica.offer(rename(b"d", b"e"))
    await eventually(lambda: filled.now.changes(b"d"), "the rename")
    filled.now.refusals.clear()
    await eventually(lambda: filled.replica.converged, "the directories in doubt")
    assert await reconnect(filled) == set(FILES)
    assert await reconnect(filled) == set()


async def test_a_rename_that_was_confirmed_leaves_nothing_in_doubt(filled):
    filled.disk[b"d"] = Entry(DIRECTORY, 0o755, 0, 0)
    filled.replica.offer(rename(b"d", b"e"))
    await eventually(lambda: not filled.replica.dirty, "the answer")
    assert await reconnect(filled) == set()


def rename(source, target):
    return encode_update(move_change(1, source, target))
