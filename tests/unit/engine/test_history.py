"""Since when frontends and trees are in the states that `status` shows, and the events about their changes."""

from types import SimpleNamespace

import pytest

from replicator.engine.control.history import History
from replicator.engine.control.shown import DEGRADED, shown_state
from replicator.engine.events import Events
from replicator.engine.paused import Pause
from replicator.wire.changes import NO_SPACE
from tests.support.waiting import eventually


class Pipeline:
    """What of a pipeline makes up its state."""

    def __init__(self):
        self.tree = SimpleNamespace(root=b"/source", pause=None, why_paused="")
        self.halted = ""
        self.deletions = SimpleNamespace(paused="")
        self.scanned = SimpleNamespace(is_set=lambda: True)


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def service(stage, pipeline):
    return SimpleNamespace(fleet=[stage.replica], pipelines={1: pipeline})


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def history(service, events):
    return History(service, events)


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


async def test_a_frontend_that_has_left_is_forgotten(stage, history, service):
    await stage.live()
    a = stage.replica
    history.sample(1000.0)
    service.fleet.clear()
    history.sample(1001.0)
    service.fleet.append(a)
    history.sample(1002.0)
    assert history.since(a, "live") == 1002.0


async def test_a_later_subscriber_receives_the_present_states_and_then_their_changes(
    stage, history, events, service, pipeline
):
    await stage.live()
    history.sample(1000.0)
    published = []
    events.subscribe(lambda event: published.append((event.name, event.reason)))
    history.sample(1001.0)
    history.sample(1002.0)
    assert published == [("frontend-live", "")]
    pipeline.halted = "the source is missing"
    history.sample(1003.0)
    pipeline.halted = ""
    service.fleet.clear()
    history.sample(1004.0)
    history.sample(1005.0)
    assert published[1:] == [
        ("tree-halted", "the source is missing"),
        ("tree-resumed", ""),
        ("frontend-lost", "it left the fleet"),
    ]


async def test_a_pause_is_published_once_and_its_end_as_well(
    stage, history, events, service, pipeline
):
    published = []
    events.subscribe(
        lambda event: published.append((event.name, event.frontend or event.tree, event.reason))
    )
    await stage.live()
    history.sample(1000.0)
    a = stage.replica
    a.hold(Pause(0.0, "alice"), frozenset({1}))
    for now in (1001.0, 1002.0):
        history.sample(now)
    assert (history.since(a, "paused"), history.in_sync(a)) == (1001.0, 1000.0)
    pipeline.tree.pause, pipeline.tree.why_paused = Pause(0.0), "/source is paused"
    a.hold(None, frozenset({1}))
    history.sample(1003.0)
    assert history.since(pipeline, "paused") == 1003.0
    pipeline.tree.pause, pipeline.tree.why_paused = None, ""
    a.hold(None, frozenset())
    history.sample(1004.0)
    assert [(name, about) for name, about, _ in published] == [
        ("frontend-live", "a"),
        ("frontend-paused", "a"),
        ("tree-paused", b"/source"),
        ("frontend-live", "a"),
        ("tree-resumed", b"/source"),
    ]
    assert "by alice" in published[1][2]


async def test_a_frontend_that_is_not_connected_is_published_as_paused_too(stage, history, events):
    published = []
    events.subscribe(lambda event: published.append(event.name))
    stage.replica.hold(Pause(0.0), frozenset({1}))
    history.sample(1000.0)
    history.sample(1001.0)
    assert published == ["frontend-paused"]


async def test_a_tree_that_halts_has_a_new_state(history, pipeline):
    history.sample(1000.0)
    pipeline.halted = "the source is missing"
    history.sample(1001.0)
    assert history.since(pipeline, "halted") == 1001.0
    pipeline.halted, pipeline.deletions.paused = "", "90 of 100 paths were removed"
    history.sample(1002.0)
    assert history.since(pipeline, "paused") == 1002.0
