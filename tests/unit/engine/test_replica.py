"""The replica: no failure is more than the end of a connection, and what was owed before it is owed after it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from replicator.core.dirty import DirtySet
from replicator.core.lifecycle import State
from replicator.core.pace import Backoff, TokenBucket
from replicator.delta.ops import Copy, Literal
from replicator.engine import replica as module
from replicator.engine.parcel import file_parcel, moved, next_number, put_file, single
from replicator.engine.replica import Replica
from replicator.model import FILE, Entry, Listed
from replicator.wire.messages import Batch, BeginFile, Hello, Listing, ListTree, More
from tests.support.frontends import Backdrop, at, sighting
from tests.support.waiting import eventually

NEVER = 3600.0
"""A delay that no test outlives."""


class Stage(Backdrop):
    """One replica before a backdrop, and a record of its states."""

    def __init__(self, pool):
        super().__init__(pool)
        self.replica = Replica(sighting("a"), self.commons)
        self.task = None

    def start(self):
        self.task = asyncio.get_running_loop().create_task(self.replica.run())

    async def live(self):
        if self.task is None:
            self.start()
        await self.turned(self.replica, State.LIVE)

    async def stop(self):
        if self.task is not None:
            for agent in self.agents.get("a", ()):
                agent.open.set()
            while not self.task.done():  # one cancellation may be lost, see test_fleet
                self.task.cancel()
                await asyncio.wait([self.task], timeout=0.1)

    def retry(self, seconds):
        self.commons.retry = Backoff(seconds, NEVER, lambda: 1.0)

    @property
    def now(self):
        """The connection of this moment."""
        return self.agent("a")

    @property
    def disk(self):
        return self.disks["a"]

    def listings(self):
        return len(self.now.of(ListTree))


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
async def stage(pool):
    made = Stage(pool)
    yield made
    await made.stop()


async def test_on_its_way_up_it_is_made_equal_and_nothing_else_is_sent(stage):
    stage.write(b"same", b"content")
    stage.write(b"missing", b"content!")
    record = stage.catalog.records[b"same"].entry
    stage.disks["a"] = {b"same": record._replace(digest=b""), b"extra": Entry(FILE, 0o644, 1, 1)}
    await stage.live()

    assert stage.disk.keys() == {b"same", b"missing"}
    assert stage.now.changes(b"same") == []
    assert stage.replica.converged
    assert (stage.replica.progress.files_done, stage.replica.progress.bytes_done) == (2, 8)
    assert stage.commons.gate.inside == 0


async def test_a_failure_is_told_and_tried_again_after_growing_pauses(stage):
    asked = []

    def delay(attempts):
        asked.append((attempts, stage.replica.state, stage.replica.last_error))
        return 0.001 if attempts < 4 else NEVER

    stage.commons.retry = SimpleNamespace(delay=delay)
    stage.prepare = lambda agent: setattr(agent, "problem", "No such file or directory")
    stage.start()
    await eventually(lambda: len(asked) == 4, "four attempts")

    assert [attempts for attempts, *_ in asked] == [1, 2, 3, 4]
    assert {state for _, state, _ in asked} == {State.RETRYING}
    assert asked[0][2] == "the target '/site' cannot be used: No such file or directory"
    assert all(agent.closed for agent in stage.agents["a"])

    # Somebody asks: there is no pause any more, and a success ends the count.
    stage.prepare = lambda _agent: None
    stage.replica.reconcile_soon()
    await stage.live()
    assert (stage.replica.attempts, stage.replica.last_error) == (0, "")


async def test_an_agent_that_says_nothing_is_given_up(stage):
    stage.commons.connect_timeout = 0.05
    stage.retry(NEVER)
    stage.prepare = lambda agent: agent.mute.add(Hello)
    stage.start()
    await stage.turned(stage.replica, State.RETRYING)

    assert stage.replica.last_error == "the agent did not answer in time"
    assert stage.now.closed


async def test_an_agent_that_hangs_while_it_is_compared_is_given_up(stage):
    stage.commons.op_timeout = 0.1
    stage.retry(NEVER)
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    stage.start()
    await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    stage.now.open.clear()  # its channel takes nothing any more
    await eventually(
        lambda: stage.replica.state is State.RETRYING, "the end of the connection", seconds=3
    )

    assert "no answer for 0.1 seconds" in stage.replica.last_error


async def test_a_target_that_is_gone_is_a_failure_with_that_reason(stage):
    stage.retry(NEVER)
    await stage.live()
    stage.now.refusals[b"f"] = ("root_gone", "")
    stage.replica.offer(stage.write(b"f", b"content"))
    await stage.turned(stage.replica, State.RETRYING)

    assert "target directory was removed" in stage.replica.last_error
    assert at(b"f") in stage.replica.dirty


async def test_a_bug_of_ours_is_a_failure_of_this_frontend_only(stage):
    def scan(*_):
        raise ZeroDivisionError("a bug of ours")

    stage.retry(NEVER)
    stage.catalog.scan, scan = scan, stage.catalog.scan
    stage.start()
    await stage.turned(stage.replica, State.RETRYING)
    assert "internal error: ZeroDivisionError" in stage.replica.last_error
    assert stage.commons.gate.inside == 0

    stage.catalog.scan = scan
    stage.replica.reconcile_soon()
    await stage.live()


async def test_live_changes_do_not_wait_at_the_gate_but_nothing_builds_on_what_is_unknown(stage):
    stage.write(b"f", b"version 1, ")
    stage.disks["a"] = {b"f": stage.catalog.records[b"f"].entry._replace(digest=b"")}
    stage.commons.gate.resize(0)
    stage.start()
    await eventually(lambda: stage.replica.queue_position == 1, "the queue")

    def delta():
        put = put_file(next_number(), 1, b"f", stage.catalog.records[b"f"].entry)
        return file_parcel(put, [Copy(0, 11), Literal(b"version 2")], delta=True)

    stage.write(b"f", b"version 1, version 2")
    stage.replica.offer(delta())
    await eventually(lambda: not stage.replica.dirty, "the whole file")
    assert b"version 1, version 2" in stage.now.payloads
    assert stage.now.of(BeginFile) == []
    assert stage.replica.state is State.QUEUED

    stage.commons.gate.resize(1)
    await stage.live()
    stage.write(b"f", b"version 1, version 3")
    stage.replica.offer(delta())
    await eventually(lambda: stage.replica.converged, "the delta")
    assert len(stage.now.of(BeginFile)) == 1
    assert stage.replica.files_sent == 2


async def test_what_was_under_way_or_came_meanwhile_is_sent_again_without_waiting_at_the_gate(
    stage,
):
    await stage.live()
    stage.now.mute.add(Batch)
    stage.replica.offer(stage.write(b"lost", b"content"))
    await eventually(lambda: stage.now.changes(b"lost"), "the change")
    stage.commons.gate.resize(0)
    stage.connector.refused.add("a")
    stage.now.hang_up()
    await stage.turned(stage.replica, State.RETRYING)
    stage.replica.offer(stage.write(b"missed", b"content"))
    stage.connector.refused.clear()
    await stage.turned(stage.replica, State.QUEUED)
    await eventually(lambda: len(stage.disk) == 2, "what is owed")

    assert stage.disk.keys() == {b"lost", b"missed"}
    assert stage.replica.state is State.QUEUED
    assert stage.listings() == 0


async def test_the_content_of_a_change_that_was_lost_under_way_is_owed(stage):
    stage.write(b"f", b"old")
    before = stage.catalog.records[b"f"].entry
    await stage.live()
    stage.now.mute.add(Batch)
    stage.source.write(b"f", b"new")  # of the same size, and with the time put back, as cp -p does
    node = stage.source.nodes[b"f"]
    stage.source.nodes[b"f"] = replace(node, time=before.mtime_ns)
    stage.replica.offer(stage.survey(b"f"))
    await eventually(lambda: stage.now.changes(b"f")[1:], "the change")
    stage.now.hang_up()
    await eventually(lambda: len(stage.agents["a"]) == 2, "another connection")
    await eventually(lambda: stage.replica.converged, "what is owed")

    assert b"new" in stage.now.payloads


async def test_a_move_that_was_missed_is_made_up_for(stage):
    stage.connector.refused.add("a")
    stage.retry(NEVER)
    stage.source.mkdir(b"old")
    stage.write(b"old/f", b"content")
    entry = stage.catalog.records[b"old/f"].entry._replace(digest=b"")
    stage.disks["a"] = {b"old": stage.catalog.records[b"old"].entry, b"old/f": entry}
    stage.commons.compare = False  # what follows is not found by comparing everything
    stage.start()
    await stage.turned(stage.replica, State.RETRYING)

    stage.replica.repair([at(b"old/f")])
    for path in (b"old", b"old/f"):
        stage.source.nodes[path.replace(b"old", b"new")] = stage.source.nodes.pop(path)
    stage.catalog.move(b"old", b"new")
    stage.replica.offer(single(moved(1, b"old", b"new")))
    assert at(b"new/f") in stage.replica.dirty
    assert at(b"old/f") not in stage.replica.dirty

    stage.connector.refused.clear()
    stage.replica.reconcile_soon()
    await stage.live()
    await eventually(lambda: stage.replica.converged, "what is owed")
    assert {b"new", b"new/f"} <= stage.disk.keys()


@pytest.mark.parametrize("already_live", [False, True], ids=["on its way up", "live, in doubt"])
async def test_what_is_renamed_past_a_comparison_is_compared_under_its_new_name(
    stage, already_live
):
    """A directory of which the frontend lacks something goes from where the comparison has yet to come to where it was."""
    stage.source.mkdir(b"z")
    for path in (b"f", b"z/here", b"z/missing"):
        stage.write(path, b"content")
    stage.disks["a"] = {
        path: record.entry._replace(digest=b"")
        for path, record in stage.catalog.records.items()
        if path != b"z/missing" or already_live
    }
    if already_live:
        await stage.live()
        del stage.disk[b"z/missing"]
        stage.now.mute.add(ListTree)
        stage.replica.reconcile_soon()
        await eventually(lambda: stage.listings() == 2, "another comparison")
    else:
        stage.prepare = lambda agent: agent.mute.add(ListTree)
        stage.start()
        await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    asked = stage.now.of(ListTree)[-1]
    listed = Listed(b"f", stage.disk[b"f"], 0, 0)
    stage.now.say(Listing(asked.job, (listed,), (), False))
    await eventually(
        lambda: More(asked.job, 1) in stage.now.of(More), "the first half to be compared"
    )

    for path in (b"z", b"z/here", b"z/missing"):
        stage.source.nodes[path.replace(b"z", b"a")] = stage.source.nodes.pop(path)
    stage.catalog.move(b"z", b"a")
    stage.replica.offer(single(moved(1, b"z", b"a")))
    assert not stage.replica.converged
    await eventually(lambda: b"a/here" in stage.disk, "the rename")
    stage.now.mute.clear()
    stage.now.say(Listing(asked.job, (), (), True))

    await eventually(lambda: b"a/missing" in stage.disk, "what is missing under the new name")
    await eventually(lambda: stage.replica.converged, "nothing more to do")
    assert [request.below for request in stage.now.of(ListTree)][-1] == b"a"
    assert stage.now.changes(b"a/here") == []


async def test_a_refusal_is_its_last_error_until_it_is_over(stage):
    stage.retry(0.05)
    await stage.live()
    stage.now.refusals[b"f"] = ("no_space", "No space left on device")
    stage.replica.offer(stage.write(b"f", b"content"))
    await eventually(lambda: stage.replica.last_error, "the trouble")
    assert stage.replica.last_error == "f: No space left on device"
    assert not stage.replica.converged
    assert stage.replica.state is State.LIVE  # the others are carried on with
    stage.replica.reconcile_soon()
    await eventually(lambda: stage.replica.reconciled == 2, "another comparison")
    assert "No space left" in stage.replica.last_error

    stage.now.refusals.clear()
    await eventually(lambda: stage.replica.converged, "the next attempt")
    stage.replica.offer(stage.write(b"g", b"content"))
    assert stage.replica.last_error == ""  # also while something else is owed


async def test_after_a_comparison_the_last_error_still_names_the_refused_path(stage):
    stage.retry(NEVER)
    stage.write(b"f", b"content")
    stage.prepare = lambda agent: agent.refusals.update({b"f": ("denied", "EACCES")})
    await stage.live()

    assert stage.replica.last_error == "f: EACCES"


async def test_a_doubt_is_settled_below_that_directory_and_many_doubts_everywhere(
    stage, monkeypatch
):
    monkeypatch.setattr(module, "DOUBTS", 3)
    stage.source.mkdir(b"d")
    stage.write(b"d/f", b"content")
    await stage.live()
    stage.disk.pop(b"d/f")
    stage.replica.in_doubt(at(b"d"))
    await eventually(lambda: b"d/f" in stage.disk, "the missing file")
    assert [request.below for request in stage.now.of(ListTree)] == [b"", b"d"]
    assert stage.replica.reconciled == 1

    stage.now.mute.add(ListTree)
    for number in range(4):
        stage.replica.in_doubt(at(b"%d" % number))
    stage.now.mute.clear()
    await eventually(lambda: stage.replica.reconciled == 2, "a comparison of everything")
    assert [request.below for request in stage.now.of(ListTree)] == [b"", b"d", b""]


async def test_what_is_confirmed_during_a_comparison_counts_for_the_next(stage):
    stage.write(b"ours", b"content")
    guarded = replace(stage.plot.territory, delete_guard=0.5)
    stage.commons.plots[1] = replace(stage.plot, territory=guarded)
    stage.disks["a"] = {b"%d" % number: Entry(FILE, 0o644, 1, 1) for number in range(200)}
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    stage.start()
    await eventually(lambda: stage.agents and stage.listings(), "the comparison")
    stage.replica.confirm()
    stage.now.mute.clear()
    stage.now.list(stage.now.of(ListTree)[0])

    await eventually(lambda: stage.disk.keys() == {b"ours"}, "what nobody wants to go")
    await eventually(lambda: stage.replica.converged and not stage.replica.excess, "nothing left")


async def test_when_too_much_is_dirty_everything_is_compared_instead(stage):
    stage.replica.dirty = DirtySet(limit=2)
    await stage.live()
    for number in range(3):
        stage.replica.offer(stage.write(b"%d" % number, b"content"))
    await eventually(lambda: stage.replica.reconciled == 2, "another comparison")
    await eventually(lambda: len(stage.disk) == 3, "all files")


async def test_only_what_fills_a_frontend_is_throttled(stage):
    stage.commons.bucket = TokenBucket(1000.0)
    stage.write(b"f", bytes(400))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stage.live()
    assert loop.time() - began > 0.3

    stage.commons.bucket = TokenBucket(0.001)
    stage.replica.repair([at(b"f")])
    await eventually(lambda: stage.replica.converged, "the file")
