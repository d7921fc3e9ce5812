"""Deliveries: a change is delivered when no connected frontend that serves visitors lacks it, and not before."""

from types import SimpleNamespace

import pytest

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef, EncodedChanges
from replicator.engine.events import Event, Events
from replicator.engine.fleet.deliveries import Deliveries
from tests.support.waiting import turns


class Frontend:
    def __init__(self):
        self.dirty = set()
        self.connected = True

    def lacks(self, key):
        return self.connected and key in self.dirty

    def has_current(self, key):
        return self.connected and key not in self.dirty

    def lacks_any(self, tree):
        return self.connected and any(key.tree == tree for key in self.dirty)


class Stage:
    def __init__(self, limit=1000):
        self.events = Events()
        self.received = []
        self.one, self.two = Frontend(), Frontend()
        self.fleet = [self.one, self.two]
        self.tree = SimpleNamespace(root=b"/source")
        self.trees = {1: self.tree}
        self.deliveries = Deliveries(lambda: list(self.fleet), self.trees, self.events, limit)
        self.events.subscribe(self.received.append)

    def publish(self, path, **part):
        key = Key(1, path)
        for frontend in self.fleet:
            frontend.dirty.add(key)
        self.deliveries.published(EncodedChanges((), (ChangeRef(1, key, **part),)))

    def confirm(self, frontend, path):
        frontend.dirty.discard(Key(1, path))
        self.deliveries.confirmed(Key(1, path))

    @property
    def delivered(self):
        return [event.path for event in self.received]


@pytest.fixture
async def stage():
    return Stage()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_path_is_delivered_when_the_last_frontend_has_confirmed_it(stage, order):
    stage.publish(b"f")
    first, last = (stage.fleet[index] for index in order)
    stage.confirm(first, b"f")
    assert stage.delivered == []
    stage.confirm(last, b"f")
    assert stage.delivered == [b"f"]
    assert stage.received[0].tree == stage.tree.root
    stage.confirm(last, b"f")
    assert stage.delivered == [b"f"]


async def test_a_path_that_changes_again_is_delivered_in_its_last_version(stage):
    stage.publish(b"f")
    stage.confirm(stage.one, b"f")
    stage.publish(b"f", is_delete=True)
    stage.confirm(stage.two, b"f")
    assert stage.delivered == []
    stage.confirm(stage.one, b"f")
    assert [(event.path, event.is_delete) for event in stage.received] == [(b"f", True)]


async def test_a_frontend_that_is_away_delays_nothing(stage):
    stage.publish(b"f")
    stage.confirm(stage.two, b"f")
    stage.one.connected = False
    await stage.deliveries.sweep()
    assert stage.delivered == [b"f"]


async def test_nothing_is_delivered_while_all_are_away(stage):
    stage.one.connected = stage.two.connected = False
    stage.publish(b"f")
    await stage.deliveries.sweep()
    assert stage.delivered == []
    stage.two.connected = True
    await stage.deliveries.sweep()
    assert stage.delivered == []
    stage.confirm(stage.two, b"f")
    assert stage.delivered == [b"f"]


async def test_a_tree_is_not_delivered_as_a_whole_while_all_are_away():
    stage = Stage(limit=0)
    stage.one.connected = stage.two.connected = False
    stage.publish(b"f")
    await stage.deliveries.sweep()
    assert stage.delivered == []
    stage.one.connected = True
    stage.one.dirty.clear()
    await stage.deliveries.sweep()
    assert stage.delivered == [b""]


async def test_a_path_that_a_comparison_finds_equal_is_delivered(stage):
    stage.publish(b"f")
    await stage.deliveries.sweep()
    assert stage.delivered == []
    for frontend in stage.fleet:
        frontend.dirty.clear()  # without a confirmation
    await stage.deliveries.sweep()
    assert stage.delivered == [b"f"]


async def test_beyond_the_limit_the_tree_is_delivered_as_a_whole():
    stage = Stage(limit=2)
    for path in (b"a", b"b", b"c"):
        stage.publish(path)
    for path in (b"a", b"b", b"c"):
        stage.confirm(stage.one, path)
        stage.confirm(stage.two, path)
        await stage.deliveries.sweep()
    assert stage.delivered == [b""]


async def test_without_a_subscriber_nothing_is_recorded(stage):
    subscriber = stage.received.append
    stage.events.unsubscribe(subscriber)
    stage.publish(b"f")
    stage.events.subscribe(subscriber)
    stage.confirm(stage.one, b"f")
    stage.confirm(stage.two, b"f")
    assert stage.delivered == []


async def test_nothing_of_a_removed_tree_is_delivered(stage):
    stage.publish(b"f")
    stage.trees.clear()
    stage.confirm(stage.one, b"f")
    stage.confirm(stage.two, b"f")
    await turns()
    assert stage.delivered == []


async def test_a_subscriber_that_fails_affects_no_other(stage):
    def fails(_):
        raise ValueError

    events, received = Events(), []
    events.subscribe(fails)
    events.subscribe(received.append)
    events.publish(Event(name="delivered"))
    assert len(received) == 1
