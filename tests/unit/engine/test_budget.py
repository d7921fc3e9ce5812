"""The budget: the dirty paths of all frontends together are limited, and no change is lost by that."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.core.pace import Backoff
from replicator.engine.budget import ALL, AWAY, STEP, Budget
from replicator.engine.changes.create import attributes_change, move_change
from replicator.engine.changes.encode import encode_update
from replicator.model import rebase
from tests.support.stage import NEVER
from tests.support.waiting import eventually
from tests.unit.engine.test_fleet import Stage


class Paths:
    """The dirty paths of a frontend, as a number."""

    def __init__(self, count, *, away):
        self.count = count
        self.is_connected = not away

    def __len__(self):
        return self.count

    def clear(self, limit):
        assert limit
        self.count = 0


@pytest.fixture
async def stage():
    """Frontends with at most 20 dirty paths together while they are away, and 150 in all."""
    with ThreadPoolExecutor(2) as pool:
        made = Stage(pool)
        made.context.budget = Budget(
            lambda: (one.pending_paths for one in made.fleet), away=20, most=150
        )
        made.context.retry = Backoff(NEVER, NEVER, lambda: 1.0)
        async with made.running():
            yield made


async def leave(stage, *hosts):
    stage.connector.refused.update(hosts)
    for host in hosts:
        stage.agent(host).hang_up()
        await stage.turned(stage.find(host), State.RETRYING)


async def come_back(stage, *hosts):
    stage.connector.refused.difference_update(hosts)
    for host in hosts:
        stage.find(host).resync()
    await stage.live(*hosts)
    for host in hosts:
        await eventually(lambda host=host: stage.find(host).converged, f"what {host} has missed")


def names(count):
    return [b"%03d" % number for number in range(count)]


def test_the_disconnected_frontend_with_the_most_dirty_paths_is_cleared_first():
    connected, large, small = (
        Paths(90, away=False),
        Paths(8, away=True),
        Paths(7, away=True),
    )
    Budget(lambda: [small, connected, large], away=10, most=100).marked(100)

    assert (len(connected), len(large), len(small)) == (90, 0, 7)


def test_beyond_the_limit_for_all_connected_frontends_are_cleared_as_well():
    frontends = [Paths(60, away=False), Paths(50, away=False), Paths(5, away=True)]
    Budget(lambda: frontends, away=10, most=100).marked(100)

    assert list(map(len, frontends)) == [0, 50, 0]


def test_paths_are_counted_again_before_the_limits_are_exceeded_by_much():
    counts = []
    budget = Budget(lambda: counts.append(1) or [Paths(AWAY - STEP, away=True)])
    for _ in range(5 * STEP):
        budget.marked(1)

    assert 3 <= len(counts) <= 5
    assert STEP <= AWAY // 100 <= ALL // 100


async def test_a_disconnected_fleet_has_a_bounded_number_of_dirty_paths_and_converges(stage):
    away = [f"away-{number}" for number in range(10)]
    stage.member_set("here", *away)
    await stage.live("here", *away)
    await leave(stage, *away)
    for name in names(14):
        await stage.fleet.publish(stage.write(name, b"content"))
        assert sum(len(stage.find(host).dirty) for host in away) <= 20 + 2 * len(away)

    assert any(not stage.find(host).is_counted for host in away)
    assert stage.find("here").is_counted
    await eventually(lambda: stage.find("here").converged, "the one that is connected")
    assert stage.find("here").full_comparisons == 1
    await come_back(stage, *away)
    for host in away:
        assert stage.disks[host].keys() == set(names(14))


async def test_a_disconnected_frontend_with_few_dirty_paths_keeps_them(stage):
    stage.member_set("little", "much")
    await stage.live("little", "much")
    await leave(stage, "much")
    for name in names(15):
        await stage.fleet.publish(stage.write(name, b"content"))
    await eventually(lambda: stage.find("little").converged, "the one that is connected")
    await leave(stage, "little")
    for name in names(24)[15:]:
        await stage.fleet.publish(stage.write(name, b"content"))

    assert not stage.find("much").dirty
    assert not stage.find("much").is_counted
    assert stage.find("little").is_counted
    assert len(stage.find("little").dirty) == 9


async def test_cleared_paths_are_not_marked_again_before_the_comparison(stage):
    stage.member_set("a")
    await stage.live("a")
    await leave(stage, "a")
    stage.find("a").pending_paths.clear("the test")
    stage.source.mkdir(b"d")
    await stage.fleet.publish(stage.write(b"d/f", b"content"))
    stage.source.nodes = {rebase(p, b"d", b"e"): n for p, n in stage.source.nodes.items()}
    stage.catalog.move(b"d", b"e")
    await stage.fleet.publish(encode_update(move_change(1, b"d", b"e")))

    assert not stage.find("a").dirty
    assert not stage.find("a").is_counted
    assert stage.find("a").state is State.RETRYING
    await come_back(stage, "a")
    assert stage.disks["a"].keys() == {b"e", b"e/f"}


async def test_a_connected_frontend_that_was_cleared_is_compared_without_a_new_connection(stage):
    slow = ["slow-1", "slow-2"]
    stage.member_set("quick", *slow)
    await stage.live("quick", *slow)
    for host in slow:
        stage.agent(host).open.clear()
    for name in names(100):
        await stage.fleet.publish(stage.write(name, b"content"))
        assert sum(len(replica.dirty) for replica in stage.fleet) <= 150 + 2 * 3
    await eventually(lambda: stage.find("quick").converged, "the other")
    for host in slow:
        stage.agent(host).open.set()
    await eventually(lambda: all(replica.converged for replica in stage.fleet), "all files")

    assert all(disk.keys() == set(names(100)) for disk in stage.disks.values())
    assert [replica.logins for replica in stage.fleet] == [1, 1, 1]
    assert max(stage.find(host).full_comparisons for host in slow) > 1


async def test_a_frontend_that_refuses_too_much_is_disconnected_for_a_while_and_the_others_continue(
    stage,
):
    stage.context.retry = Backoff(0.2, 0.2, lambda: 1.0)  # of connections and of refused paths
    stage.member_set("honest", "full")
    await stage.live("honest", "full")
    refusals = dict.fromkeys(names(200), ("no_space", "the disk is full"))
    full = stage.disks["full"]
    stage.prepare = lambda agent: agent.refusals.update(refusals if agent.disk is full else {})
    stage.prepare(stage.agent("full"))
    for name in names(200):
        await stage.fleet.publish(stage.write(name, b"content"))
        await eventually(lambda name=name: name in stage.disks["honest"], "the other")
    await eventually(lambda: "it refuses so many" in stage.find("full").last_error, "the end")

    assert "the disk is full" in stage.find("full").last_error
    await eventually(lambda: stage.find("honest").converged, "the other to be in sync")
    assert stage.find("honest").logins == 1
    assert stage.find("full").failures
    refusals.clear()
    for agent in stage.agents["full"]:
        agent.refusals.clear()
    stage.context.budget.most = ALL
    await eventually(lambda: stage.find("full").converged, "what it has missed")
    assert stage.disks["full"].keys() == set(names(200))
    assert stage.find("full").logins > 1


async def test_no_change_builds_on_a_version_that_was_cleared(stage):
    stage.member_set("a")
    await stage.live("a")
    await stage.fleet.publish(stage.write(b"f", b"content"))
    await eventually(lambda: stage.find("a").converged, "the file")
    stage.context.bootstrap_queue.resize(0)
    stage.find("a").pending_paths.clear("the test")
    entry = stage.catalog.records[b"f"].entry
    await stage.fleet.publish(encode_update(attributes_change(1, b"f", entry, content=False)))
    await eventually(lambda: not stage.find("a").dirty, "its answer")

    (change,) = stage.agent("a").changes(b"f")[1:]
    assert change.digest == entry.digest
