"""The fleet: equal to the discovered frontends; a change of membership does not affect the others."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from replicator.core.lifecycle import State
from replicator.core.pace import Backoff
from replicator.engine.fleet.fleet import Fleet
from replicator.engine.frontend.replica import Replica
from replicator.ports import Address, Candidate, Decision
from replicator.wire.messages import ListTree
from tests.support.frontends import Backdrop, at, candidate
from tests.support.waiting import eventually, turns


class Stage(Backdrop):
    """A fleet before a backdrop."""

    def __init__(self, pool, places=2):
        super().__init__(pool, places)
        self.fleet = Fleet(self.context)

    def member_set(self, *hosts, **how):
        self.fleet.set_members([candidate(host) for host in hosts], **how)

    def hosts(self):
        return {replica.address.host for replica in self.fleet}

    def find(self, host):
        return self.fleet.find(Address(host))

    async def live(self, *hosts):
        for host in hosts:
            await self.turned(self.find(host), State.LIVE)

    @asynccontextmanager
    async def running(self):
        task = asyncio.get_running_loop().create_task(self.fleet.run())
        await turns()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
async def stage(pool):
    made = Stage(pool)
    async with made.running():
        yield made


def hold_listings(agent):
    """An agent that never ends being filled."""
    agent.mute.add(ListTree)


async def test_a_discovered_frontend_is_connected_and_filled(stage):
    stage.write(b"f", b"content")
    stage.member_set("a", "b")
    await stage.live("a", "b")

    assert stage.disks["a"].keys() == stage.disks["b"].keys() == {b"f"}
    assert len(stage.fleet) == 2


async def test_members_that_stay_are_not_affected_by_those_that_come_and_go(stage):
    stage.member_set("a", "b")
    await stage.live("a", "b")
    a, b = stage.find("a"), stage.find("b")
    stage.member_set("a", "c")
    await stage.live("c")
    await stage.turned(b, State.GONE)

    assert stage.agent("b").closed
    assert stage.find("a") is a
    assert a.state is State.LIVE
    assert (a.logins, a.full_comparisons, stage.agent("a").closed) == (1, 1, False)
    assert stage.hosts() == {"a", "c"}


async def test_new_data_about_a_member_is_taken_over_without_a_new_connection(stage):
    stage.member_set("a")
    await stage.live("a")
    stage.fleet.set_members([candidate("a", identity="i-1", decision=Decision.DRAIN)])

    assert stage.find("a").candidate.decision is Decision.DRAIN
    assert stage.find("a").logins == 1
    assert stage.find("a").state is State.LIVE


async def test_another_machine_at_a_known_address_is_another_frontend(stage):
    stage.fleet.set_members([candidate("a", identity="i-1"), candidate("b", identity="i-3")])
    await stage.live("a", "b")
    old, b = stage.find("a"), stage.find("b")
    stage.fleet.set_members([candidate("a", identity="i-2"), candidate("b", identity="i-3")])
    new = stage.find("a")
    await stage.live("a")
    await stage.turned(old, State.GONE)

    assert new is not old
    assert [agent.closed for agent in stage.agents["a"]] == [True, False]
    assert stage.find("b") is b


async def test_members_that_are_not_listed_stay_unless_drop_is_set(stage):
    stage.member_set("a")
    stage.member_set("b", drop=False)
    assert stage.hosts() == {"a", "b"}


async def test_a_frontend_that_was_added_manually_stays_although_discovery_does_not_list_it(stage):
    stage.fleet.add(candidate("a", source="manual"))
    stage.member_set("b")
    stage.member_set()
    assert stage.hosts() == {"a"}

    # Discovery has found it: from now on it is like any other.
    stage.member_set("a")
    stage.member_set()
    assert stage.hosts() == set()


async def test_a_frontend_that_is_removed_while_it_is_filled_releases_its_place(stage):
    stage.context.bootstrap_queue.resize(1)
    stage.prepare = hold_listings
    stage.member_set("a")
    await stage.turned(stage.find("a"), State.BOOTSTRAPPING)
    stage.prepare = lambda _agent: None
    stage.member_set("a", "b")
    await eventually(lambda: stage.find("b").queue_position == 1, "b in the queue")
    stage.fleet.remove(Address("a"))
    await stage.live("b")

    assert stage.context.bootstrap_queue.inside == 0


async def test_a_frontend_that_is_removed_while_it_waits_leaves_the_queue(stage):
    stage.context.bootstrap_queue.resize(0)
    for place, host in enumerate(("a", "b", "c"), 1):
        replica = stage.fleet.add(candidate(host))
        await eventually(lambda r=replica, p=place: r.queue_position == p, "a place in the queue")
    stage.fleet.remove(Address("b"))
    await eventually(lambda: stage.find("c").queue_position == 2, "c to move up")

    assert stage.find("a").queue_position == 1


async def test_a_requested_frontend_is_filled_before_all_that_wait(stage):
    stage.context.bootstrap_queue.resize(0)
    first = stage.fleet.add(candidate("a"))
    await eventually(lambda: first.queue_position == 1, "a in the queue")
    asked = stage.fleet.add(candidate("b"), front=True)
    await eventually(lambda: asked.queue_position == 1, "b before a")

    assert first.queue_position == 2


async def test_a_change_is_sent_to_connected_frontends_and_dirty_for_the_others(stage):
    stage.context.retry = Backoff(0.05, 0.05, lambda: 1.0)
    stage.member_set("a", "b", "away")
    await stage.live("a", "b", "away")
    stage.connector.refused.add("away")
    stage.agent("away").hang_up()
    await stage.turned(stage.find("away"), State.RETRYING)
    await stage.fleet.publish(stage.write(b"f", b"content"))
    await eventually(lambda: stage.disks["a"] and stage.disks["b"], "the change")
    assert at(b"f") in stage.find("away").dirty

    stage.connector.refused.clear()
    await stage.live("away")
    await eventually(lambda: stage.find("away").converged, "what it has missed")
    assert b"f" in stage.disks["away"]


async def test_a_frontend_is_found_by_the_given_parts_of_its_address(stage):
    stage.fleet.add(candidate("a"))
    one = stage.fleet.add(Candidate(Address("b", "web", 2222)))

    assert stage.fleet.find(Address("b")) is stage.fleet.find(Address("b", port=2222)) is one
    assert stage.fleet.find(Address("b", "root")) is None
    assert stage.fleet.find(Address("c")) is None


def task_of(host):
    """Return the task of a replica."""
    return next(one for one in asyncio.all_tasks() if one.get_name() == f"replica {Address(host)}")


async def test_a_replica_that_ends_by_itself_is_replaced_and_affects_no_other(pool, monkeypatch):
    stage = Stage(pool)
    async with stage.running() as running:
        stage.member_set("a", "b")
        await stage.live("a", "b")
        task = task_of("a")
        stage.fleet.remove(Address("a"))
        await eventually(task.done, "a to end")
        assert not running.done()

        run = Replica.run

        async def end(_replica):
            monkeypatch.setattr(Replica, "run", run)
            raise KeyError("a bug of ours")

        monkeypatch.setattr(Replica, "run", end)
        stage.member_set("b", "broken")
        await eventually(
            lambda: stage.fleet.find(Address("broken")).state is State.LIVE, "another beginning"
        )
        assert not running.done()
        assert len(stage.agents["b"]) == 1


async def test_at_the_end_all_replicas_are_closed_including_replaced_slow_ones(pool):
    stage = Stage(pool)
    async with stage.running() as running:
        stage.fleet.set_members([candidate("a", identity="i-1")])
        await stage.live("a")
        slow = stage.agent("a")
        slow.closing.clear()
        stage.fleet.set_members([candidate("a", identity="i-2")])
        await stage.live("a")
        running.cancel()
        await eventually(lambda: stage.agent("a").closed, "the new one to be closed")
        assert not running.done()
        slow.closing.set()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()

    assert slow.closed


async def test_a_frontend_that_is_removed_at_the_moment_it_fails_does_not_come_back(stage):
    stage.member_set("a")
    await stage.live("a")
    replica, agent = stage.find("a"), stage.agent("a")
    task = task_of("a")

    def diagnosis():
        stage.fleet.remove(Address("a"))
        return "it was terminated"

    agent.diagnosis = diagnosis
    agent.hang_up()
    await eventually(lambda: task.done() or len(stage.agents["a"]) > 1, "an end")

    assert len(stage.agents["a"]) == 1
    assert replica.state is State.GONE
