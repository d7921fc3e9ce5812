"""PendingPaths: a change is sent or marked dirty, and builds only on versions that the frontend is known to have."""

from replicator.core.lifecycle import State
from replicator.delta.ops import Copy, Literal
from replicator.engine.changes.create import next_number, put_change
from replicator.engine.changes.encode import encode_file
from replicator.engine.frontend import pending_paths
from replicator.wire.messages import Batch, BeginFile, ListTree
from tests.support.frontends import at
from tests.support.stage import NEVER
from tests.support.waiting import eventually, turns


async def test_live_changes_do_not_wait_for_the_bootstrap_queue_but_no_delta_is_sent_before_the_comparison(
    stage,
):
    stage.write(b"f", b"version 1, ")
    stage.disks["a"] = {b"f": stage.catalog.records[b"f"].entry._replace(digest=b"")}
    stage.context.bootstrap_queue.resize(0)
    stage.start()
    await eventually(lambda: stage.replica.queue_position == 1, "the queue")

    def delta():
        put = put_change(next_number(), 1, b"f", stage.catalog.records[b"f"].entry)
        return encode_file(put, [Copy(0, 11), Literal(b"version 2")], delta=True)

    stage.write(b"f", b"version 1, version 2")
    stage.replica.offer(delta())
    await eventually(lambda: not stage.replica.dirty, "the whole file")
    assert b"version 1, version 2" in stage.now.payloads
    assert stage.now.of(BeginFile) == []
    assert stage.replica.state is State.QUEUED

    stage.context.bootstrap_queue.resize(1)
    await stage.live()
    stage.write(b"f", b"version 1, version 3")
    stage.replica.offer(delta())
    await eventually(lambda: stage.replica.converged, "the delta")
    assert len(stage.now.of(BeginFile)) == 1
    assert stage.replica.files_sent == 2


async def test_the_target_of_a_missed_move_is_compared(stage):
    stage.retry(NEVER)
    stage.source.mkdir(b"old")
    stage.write(b"old/f", b"content")
    entry = stage.catalog.records[b"old/f"].entry._replace(digest=b"")
    stage.disks["a"] = {b"old": stage.catalog.records[b"old"].entry, b"old/f": entry}
    stage.context.compare = False  # what follows is not found by comparing everything
    await stage.live()
    stage.connector.refused.add("a")
    stage.now.hang_up()
    await stage.turned(stage.replica, State.RETRYING)

    stage.replica.repair([at(b"old/f")])
    stage.rename(b"old", b"new")
    assert at(b"new/f") in stage.replica.dirty
    assert at(b"old/f") not in stage.replica.dirty

    stage.connector.refused.clear()
    stage.replica.resync()
    await stage.live()
    await eventually(lambda: stage.replica.converged, "the pending paths")
    assert {b"new", b"new/f"} <= stage.disk.keys()


async def test_after_a_missed_move_of_very_many_dirty_paths_everything_is_compared(
    stage, monkeypatch
):
    monkeypatch.setattr(pending_paths, "MOST_RENAMED", 2)
    stage.retry(NEVER)
    await stage.live()
    stage.connector.refused.add("a")
    stage.now.hang_up()
    await stage.turned(stage.replica, State.RETRYING)
    stage.source.mkdir(b"old")
    stage.catalog.put(b"old", stage.source.nodes[b"old"].entry)
    for number in range(3):
        stage.replica.offer(stage.write(b"old/%d" % number, b"content"))
    assert len(stage.replica.dirty) == 3
    assert stage.replica.is_counted
    stage.rename(b"old", b"new")
    assert not stage.replica.dirty
    assert not stage.replica.is_counted, "it is not known how much the frontend lacks"

    stage.connector.refused.clear()
    stage.replica.resync()
    await stage.live()
    await eventually(lambda: stage.replica.converged, "the comparison")
    assert {b"new", *(b"new/%d" % number for number in range(3))} <= stage.disk.keys()


async def test_a_move_of_very_many_dirty_paths_on_a_connection_leads_to_a_comparison_of_everything(
    stage, monkeypatch
):
    monkeypatch.setattr(pending_paths, "MOST_RENAMED", 2)
    stage.retry(NEVER)
    stage.source.mkdir(b"old")
    stage.write(b"old/f", b"content")
    await stage.live()
    await eventually(lambda: stage.replica.converged, "the first file")
    stage.now.refusals[b"old/0"] = ("denied", "no")
    stage.replica.offer(stage.write(b"old/0", b"content"))
    await eventually(stage.replica.dirty.has_refusals, "the refusal")
    stage.now.mute.add(Batch)
    since = len(stage.now.of(Batch))
    for number in range(1, 3):
        stage.replica.offer(stage.write(b"old/%d" % number, b"content"))
    stage.rename(b"old", b"new")
    assert list(stage.replica.dirty) == [at(b"old")], "the move alone is in flight"
    assert not stage.replica.is_counted, "it is not known how much the frontend lacks"
    assert not stage.replica.is_bootstrapped

    await eventually(lambda: stage.now.moves(b"old"), "the move")
    await stage.turned(stage.replica, State.BOOTSTRAPPING)
    await turns(1000)
    assert stage.listings() == 1, "a listing before the move would show what is there as surplus"
    stage.now.mute.clear()
    for message in stage.now.of(Batch)[since:]:
        stage.now.answer(message)
    await eventually(lambda: stage.replica.converged, "the comparison")
    assert stage.disk.keys() == stage.source.nodes.keys()
    assert stage.replica.full_comparisons == 2
    assert stage.replica.logins == 1, "what was refused is no reason to connect again"


async def test_when_too_much_is_dirty_everything_is_compared_instead(stage, monkeypatch):
    monkeypatch.setattr(stage.replica.dirty, "_limit", 2)
    await stage.live()
    for number in range(3):
        stage.replica.offer(stage.write(b"%d" % number, b"content"))
    await eventually(lambda: stage.replica.full_comparisons == 2, "another comparison")
    await eventually(lambda: len(stage.disk) == 3, "all files")


async def test_nothing_counts_as_known_after_the_paths_were_dropped_during_a_comparison(stage):
    stage.write(b"f", b"content")
    await stage.live()
    stage.now.mute.add(ListTree)
    stage.replica.resync()
    await eventually(lambda: stage.listings() == 2, "the second comparison")
    stage.replica.pending_paths.clear("all frontends")
    stage.now.list(stage.now.of(ListTree)[1])
    await eventually(lambda: stage.listings() == 3, "the third comparison")
    assert not stage.replica.is_counted
    assert stage.replica.lacks_any(1)
    stage.now.list(stage.now.of(ListTree)[2])
    await eventually(lambda: stage.replica.converged, "the end of the third comparison")
    assert stage.replica.is_counted
