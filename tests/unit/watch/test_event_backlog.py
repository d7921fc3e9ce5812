"""watch.event_backlog: which of many events are translated first, and that each changed name is."""

import random

import pytest

from replicator.watch import event_backlog
from replicator.watch import translate as t
from replicator.watch.event_backlog import EventBacklog

BULK, UPLOADS, OTHER = 1, 2, 3


@pytest.fixture
def backlog():
    return EventBacklog()


def take_all(backlog, limit=100):
    taken = []
    while backlog:
        some = backlog.take(limit)
        assert 0 < len(some) <= limit
        taken += some
    return taken


def masks(events):
    return {(event.wd, event.name): event.mask for event in events}


@pytest.mark.parametrize("bulk", [t.DELETE, t.ATTRIB, t.CLOSE_WRITE, t.MODIFY, t.MOVED_TO])
@pytest.mark.parametrize("upload", [t.CLOSE_WRITE, t.MOVED_TO])
def test_an_upload_is_among_the_next_events_during_any_bulk_change(backlog, bulk, upload):
    for number in range(10_000):
        backlog.add(BULK, bulk, 0, b"%d" % number)
    backlog.add(UPLOADS, upload, 0, b"upload")
    for number in range(10_000, 20_000):
        backlog.add(BULK, bulk, 0, b"%d" % number)
    assert (UPLOADS, b"upload") in masks(backlog.take(10))


def test_what_came_first_waits_for_no_stream_of_newer_events(backlog):
    backlog.add(BULK, t.CLOSE_WRITE, 0, b"first")
    backlog.add(BULK, t.DELETE, 0, b"gone")
    for number in range(1000):
        backlog.add(UPLOADS, t.CLOSE_WRITE, 0, b"%d" % number)
        backlog.add(BULK, t.CLOSE_WRITE, 0, b"%d" % number)
    assert {(BULK, b"first"), (BULK, b"gone")} <= masks(backlog.take(8)).keys()


def test_events_about_directories_keep_their_order_and_come_first(backlog):
    events = [
        (BULK, t.CREATE | t.ISDIR, 0, b"d"),
        (BULK, t.MOVED_FROM | t.ISDIR, 7, b"d"),
        (OTHER, t.MOVED_TO | t.ISDIR, 7, b"e"),
        (OTHER, t.DELETE | t.ISDIR, 0, b"e"),
        (OTHER, t.DELETE_SELF, 0, b""),
    ]
    backlog.add(BULK, t.CLOSE_WRITE, 0, b"f")
    for event in events:
        backlog.add(*event)
    taken = take_all(backlog, 3)
    assert [tuple(event) for event in taken] == [*events, (BULK, t.CLOSE_WRITE, 0, b"f")]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([t.CREATE, t.MODIFY], t.CLOSE_WRITE, t.CLOSE_WRITE | t.CREATE),
        ([t.CLOSE_WRITE], t.ATTRIB, t.CLOSE_WRITE),
        ([t.CLOSE_WRITE], t.MODIFY, t.MODIFY),
        ([t.CLOSE_WRITE], t.DELETE, t.DELETE),
        ([t.DELETE], t.CREATE, t.CREATE),
        ([t.DELETE], t.MOVED_TO, t.MOVED_TO),
        ([t.CREATE, t.CLOSE_WRITE], t.MOVED_FROM, t.DELETE),
        ([t.ATTRIB], t.CLOSE_WRITE, t.CLOSE_WRITE),
    ],
)
def test_of_the_events_of_a_name_the_last_decides(backlog, before, after, kept):
    for mask in [*before, after]:
        backlog.add(UPLOADS, mask, 0, b"f")
    assert masks(take_all(backlog)) == {(UPLOADS, b"f"): kept}


def test_a_directory_that_is_gone_takes_its_names_along(backlog):
    for number in range(100):
        backlog.add(BULK, t.DELETE, 0, b"%d" % number)
    backlog.add(BULK, t.IGNORED, 0, b"")
    backlog.add(OTHER, t.DELETE | t.ISDIR, 0, b"bulk")
    assert len(backlog) == 2
    assert len(take_all(backlog)) == 2


def test_too_many_names_are_replaced_by_a_scan_but_for_the_newest_uploads(backlog, monkeypatch):
    monkeypatch.setattr(event_backlog, "MOST", 100)
    monkeypatch.setattr(event_backlog, "KEPT", 5)
    for number in range(60):
        backlog.add(BULK, t.CLOSE_WRITE, 0, b"old%d" % number)
    for number in range(36):
        backlog.add(BULK, t.ATTRIB, 0, b"%d" % number)
    for number in range(4):
        backlog.add(UPLOADS, t.CLOSE_WRITE, 0, b"upload%d" % number)
    assert not backlog.forgot
    backlog.add(BULK, t.ATTRIB, 0, b"too many")
    assert backlog.forgot
    uploads = {(UPLOADS, b"upload%d" % number) for number in range(4)}
    assert masks(take_all(backlog)).keys() == uploads | {(BULK, b"old59")}


@pytest.mark.parametrize("seed", range(20))
def test_each_changed_name_is_taken_once(backlog, seed):
    chance = random.Random(seed)
    expected: set[tuple[int, bytes]] = set()
    for _ in range(3000):
        wd, name = chance.randrange(1, 30), b"%d" % chance.randrange(40)
        kinds = (t.CREATE, t.MODIFY, t.CLOSE_WRITE, t.ATTRIB, t.DELETE, t.MOVED_FROM, t.MOVED_TO)
        backlog.add(wd, chance.choice(kinds), 0, name)
        expected.add((wd, name))
        assert len(backlog) == len(expected)
        if chance.random() < 0.05:
            taken = [(event.wd, event.name) for event in backlog.take(chance.randrange(1, 40))]
            assert len(set(taken)) == len(taken)
            assert expected.issuperset(taken)
            expected.difference_update(taken)
    assert masks(take_all(backlog, 7)).keys() == expected
