"""Launch hooks: a machine is put into service once everything on it is equal by digest, and not before."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.pace import Backoff
from replicator.engine.fleet.launch_hooks import HEARTBEATS, LaunchHooks
from replicator.ports import Launch
from replicator.wire.messages import ListTree
from tests.support.fakes.launches import FakeLaunches
from tests.support.frontends import candidate
from tests.support.waiting import eventually
from tests.unit.engine.test_fleet import Stage

LAUNCH = Launch("shop", "fill", "i-1", 3.0)
OTHER = Launch("shop", "fill", "i-2", 3.0)
WAITING = candidate("a", identity="i-1", launch=LAUNCH)
GIVE_UP = 30.0


@pytest.fixture
async def stage(clock):
    """A fleet to which the machine is added; its bootstrap begins when the test lets its agent list."""
    with ThreadPoolExecutor(2) as pool:
        made = Stage(pool)
        made.context.op_timeout = 10 * GIVE_UP
        made.context.retry = Backoff(1.0, 60.0, lambda: 1.0)
        made.write(b"f", b"content")
        made.control = FakeLaunches(LAUNCH, OTHER)
        async with made.running():
            yield made


def follow(stage, *, abandon=True):
    """Add the machine to the fleet, and handle its launch."""
    context = stage.context
    hooks = LaunchHooks(
        stage.control, stage.fleet, context.pool, context.retry, give_up=GIVE_UP, abandon=abandon
    )
    stage.fleet.set_members([WAITING])
    hooks.follow([WAITING])
    return hooks


async def test_a_machine_is_put_into_service_after_it_was_filled_and_verified(stage):
    hooks = follow(stage)
    await eventually(lambda: stage.control.completed, "the completion")
    assert stage.control.completed == {LAUNCH: True}
    assert stage.control.waiting == {OTHER}
    assert stage.disks["a"].keys() == {b"f"}
    assert [request.digest for request in stage.agent("a").of(ListTree)] == [False, True]
    await eventually(lambda: hooks.describe("i-1") == "verified: put into service", "its state")
    assert hooks.results == {"in_service": 1, "abandoned": 0, "left": 0}
    hooks.close()


async def test_heartbeats_keep_the_hook_open_while_the_machine_is_filled(stage):
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    hooks = follow(stage)
    await eventually(lambda: len(stage.control.heartbeats) > 2 * HEARTBEATS, "heartbeats")
    assert set(stage.control.heartbeats) == {LAUNCH}
    assert stage.control.completed == {}
    agent = stage.agent("a")
    agent.mute.clear()
    agent.answer(agent.of(ListTree)[0])
    await eventually(lambda: stage.control.completed == {LAUNCH: True}, "the completion")
    hooks.close()


@pytest.mark.parametrize("abandon", [True, False])
async def test_a_machine_that_is_not_filled_in_time_is_abandoned_or_left_as_configured(
    stage, abandon
):
    stage.connector.refused.add("a")
    hooks = follow(stage, abandon=abandon)
    await eventually(lambda: hooks.describe("i-1").startswith("given up"), "the end")
    assert stage.control.completed == ({LAUNCH: False} if abandon else {})
    assert "refused by the test" in hooks.describe("i-1") or abandon
    assert hooks.results == {"in_service": 0, "abandoned": abandon, "left": not abandon}
    hooks.close()


async def test_a_completion_that_fails_is_repeated_and_shown_until_it_succeeds(stage):
    stage.control.failure = "the IAM permission autoscaling:CompleteLifecycleAction is missing"
    hooks = follow(stage)
    await eventually(lambda: "is missing" in hooks.describe("i-1"), "the error")
    assert stage.control.completed == {}
    stage.control.failure = ""
    await eventually(lambda: stage.control.completed == {LAUNCH: True}, "the completion")
    await eventually(lambda: hooks.describe("i-1") == "verified: put into service", "its state")
    hooks.close()


async def test_a_launch_that_no_longer_waits_is_not_completed(stage):
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    hooks = follow(stage)
    await eventually(lambda: stage.control.heartbeats, "a heartbeat")
    hooks.follow([candidate("a", identity="i-1")])
    assert hooks.describe("i-1") == ""
    agent = stage.agent("a")
    await eventually(lambda: agent.of(ListTree), "the bootstrap")
    agent.mute.clear()
    agent.answer(agent.of(ListTree)[0])
    await eventually(lambda: stage.find("a").converged, "the frontend to be filled")
    hooks.close()
    assert stage.control.completed == {}


class Noting(FakeLaunches):
    """Remembers what the machine held when its launch was completed."""

    def __init__(self, *waiting, disk):
        super().__init__(*waiting)
        self.held = None
        self._disk = disk

    async def complete(self, launch, *, ready):
        self.held = dict(self._disk)
        await super().complete(launch, ready=ready)


async def test_content_that_is_wrong_with_the_right_size_and_time_is_repaired_before_service(stage):
    right = stage.catalog.records[b"f"].entry
    disk = stage.disks["a"] = {b"f": right._replace(digest=bytes(32))}
    stage.control = Noting(LAUNCH, disk=disk)
    hooks = follow(stage)
    await eventually(lambda: stage.control.completed == {LAUNCH: True}, "the completion")
    assert stage.control.held[b"f"].digest == right.digest
    hooks.close()
