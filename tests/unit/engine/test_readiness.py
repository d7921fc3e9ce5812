"""Readiness: the ready file exists only on a frontend that holds everything."""

import pytest

from replicator.core.lifecycle import State
from replicator.engine.tree import ReadyFile
from replicator.wire.messages import ListTree
from tests.support.frontends import at
from tests.support.waiting import eventually, turns

READY = b".ready"


@pytest.fixture
def ready_stage(stage):
    """The first comparison is running: it has been requested from the agent, and is answered by the test."""
    stage.tree.ready = ReadyFile(READY, 60.0)
    stage.prepare = lambda agent: agent.mute.add(ListTree)
    return stage


async def listing(stage, number):
    """Wait until the agent was asked for its `number`-th listing."""
    await eventually(lambda: stage.agents.get("a") and stage.listings() == number, "a comparison")


def answer(stage, number):
    stage.now.list(stage.now.of(ListTree)[number - 1])


async def test_a_frontend_whose_dirty_paths_were_dropped_during_its_first_comparison_is_not_ready(
    ready_stage,
):
    stage = ready_stage
    stage.write(b"f", b"content")
    stage.start()
    await listing(stage, 1)
    stage.replica.pending_paths.clear("all frontends")
    answer(stage, 1)
    await listing(stage, 2)
    await eventually(lambda: stage.disk.get(b"f"), "what the first comparison has found")
    await eventually(lambda: not stage.replica.dirty, "its confirmation")
    await turns(100)
    assert READY not in stage.disk
    assert stage.replica.full_comparisons == 0
    assert stage.replica.state is not State.LIVE
    answer(stage, 2)
    await eventually(lambda: READY in stage.disk, "the ready file")
    assert stage.replica.full_comparisons == 1


async def test_a_frontend_that_holds_everything_is_ready(ready_stage):
    stage = ready_stage
    stage.start()
    await listing(stage, 1)
    answer(stage, 1)
    await eventually(lambda: READY in stage.disk, "the ready file")


async def test_a_frontend_is_not_ready_while_a_directory_is_compared_again(ready_stage):
    stage = ready_stage
    stage.source.mkdir(b"d")
    stage.write(b"d/f", b"content")
    stage.start()
    await listing(stage, 1)
    stage.replica.resync_queue.request(at(b"d"))
    answer(stage, 1)
    await listing(stage, 2)
    await stage.turned(stage.replica, State.LIVE)
    await eventually(lambda: not stage.replica.dirty, "what was found")
    await turns(100)
    assert READY not in stage.disk
    answer(stage, 2)
    await eventually(lambda: READY in stage.disk, "the ready file")
