"""Since when frontends and trees are in the states that `status` shows."""

from types import SimpleNamespace

import pytest

from replicator.engine.control.history import History
from replicator.engine.control.shown import DEGRADED, shown_state
from replicator.wire.changes import NO_SPACE
from tests.support.waiting import eventually


class Pipeline:
    """What of a pipeline makes up its state."""

    def __init__(self):
        self.halted = ""
        self.deletions = SimpleNamespace(paused="")
        self.scanned = SimpleNamespace(is_set=lambda: True)


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def history(stage, pipeline):
    return History(SimpleNamespace(fleet=[stage.replica], pipelines={1: pipeline}))


async def test_a_state_lasts_since_the_first_sample_that_saw_it(stage, history):
    stage.write(b"f", b"content")
    await stage.live()
    a = stage.replica
    history.sample(1000.0)
    history.sample(1001.0)
    assert (history.since(a, "live"), history.in_sync(a)) == (1000.0, 1001.0)


async def test_a_frontend_that_becomes_degraded_has_a_new_state_and_was_in_sync_until_then(
    stage, history
):
    await stage.live()
    a = stage.replica
    history.sample(1000.0)
    stage.now.refusals[b"g"] = (NO_SPACE, "No space left on device")
    a.offer(stage.write(b"g", b"more"))
    await eventually(lambda: shown_state(a, halted=False) == DEGRADED, lambda: a.last_error)
    history.sample(1001.0)
    history.sample(1002.0)
    assert (history.since(a, DEGRADED), history.in_sync(a)) == (1001.0, 1000.0)


async def test_a_frontend_is_not_in_sync_while_it_is_unknown_what_it_lacks(stage, history):
    await stage.live()
    a = stage.replica
    history.sample(1000.0)
    counted = set(a.pending_paths.counted)
    a.pending_paths.counted.clear()
    assert shown_state(a, halted=False) == "live"
    history.sample(1001.0)
    assert history.in_sync(a) == 1000.0
    a.pending_paths.counted |= counted
    history.sample(1002.0)
    assert history.in_sync(a) == 1002.0


async def test_a_state_that_no_sample_has_seen_has_just_begun(stage, history, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5000.0)
    assert history.since(stage.replica, "connecting") == 5000.0
    assert history.in_sync(stage.replica) is None


async def test_a_frontend_that_has_left_is_forgotten(stage, history):
    await stage.live()
    a = stage.replica
    history.sample(1000.0)
    history._service.fleet.clear()
    history.sample(1001.0)
    assert history.in_sync(a) is None
    assert history._since.keys() == {history._service.pipelines[1]}


async def test_a_tree_that_halts_has_a_new_state(history, pipeline):
    history.sample(1000.0)
    pipeline.halted = "the source is missing"
    history.sample(1001.0)
    assert history.since(pipeline, "halted") == 1001.0
    pipeline.halted, pipeline.deletions.paused = "", "90 of 100 paths were removed"
    history.sample(1002.0)
    assert history.since(pipeline, "paused") == 1002.0
