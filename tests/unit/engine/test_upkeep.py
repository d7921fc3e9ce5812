"""Rechecks: stamps are believed once the clock has moved on, and what cannot be read is tried again."""

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.debouncer import Debouncer
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.rechecks import TROUBLE_RETRY, Rechecks
from replicator.engine.tree import Tree
from replicator.model import Hint, Hinted
from tests.support.fakes import FakeCatalog, FakeSource, FakeWatcher
from tests.support.source_state import SITE


class Kept:
    """A tree in memory, and what looks at it leave to be done."""

    def __init__(self, pool):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        debouncer = Debouncer(cooldown=0.1, max_wait=1.0)
        self.pool = pool
        tree = Tree(
            1, b"/source", self.source, self.catalog, FakeWatcher, debouncer, SITE, delete=True
        )
        self.debouncer, self.tree = debouncer, tree
        self.checker = Checker(self.source, self.catalog)
        self.rechecks = Rechecks(tree, pool)

    def look(self, *paths, ahead=()):
        for found in self.checker.check(paths):
            self.rechecks.note(found, ahead)

    def is_firm(self, path):
        return self.catalog.records[path].stable


@pytest.fixture
def kept():
    with ThreadPoolExecutor(1) as pool:
        yield Kept(pool)


async def test_a_fresh_stamp_is_believed_if_it_stays_as_it_was(kept):
    kept.source.stable = False
    for path in (b"same", b"touched", b"gone", b"pending"):
        kept.source.write(path, b"content")
    kept.look(b"same", b"touched", b"gone", b"pending")
    assert not kept.is_firm(b"same")

    kept.source.touch(b"touched")
    kept.source.remove(b"gone")
    kept.debouncer.hint(Hint(Hinted.CHANGED, b"pending"), 1.0)
    assert await kept.rechecks.confirm() == [b"gone", b"touched"], "nobody has hinted at these"
    stable = {path for path in kept.catalog.records if kept.is_firm(path)}
    assert stable == {b"same"}

    applied = kept.catalog.applied
    assert await kept.rechecks.confirm() == []
    assert kept.catalog.applied == applied, "once is enough"


def test_what_cannot_be_read_is_told_and_tried_again_until_it_can_be_or_is_gone(kept):
    for path in (b"a", b"b"):
        kept.source.write(path, b"content")
        kept.source.unreadable[path] = "Permission denied"
    kept.look(b"a", b"b")
    assert kept.rechecks.troubles() == [b"a", b"b"]
    assert sorted(kept.rechecks.retries(100.0)) == [b"a", b"b"]
    assert kept.rechecks.retries(100.0) == [], "not all the time"

    kept.source.unreadable.clear()
    kept.source.remove(b"b")
    again = kept.rechecks.retries(100.0 + TROUBLE_RETRY)
    kept.look(*again)
    assert kept.rechecks.troubles() == []
    assert kept.rechecks.retries(1000.0) == []


def test_what_is_being_read_ahead_is_no_trouble(kept):
    kept.source.write(b"huge", b"content")
    kept.source.unreadable[b"huge"] = "is being read"
    kept.look(b"huge", ahead={b"huge"})
    assert kept.rechecks.troubles() == []


async def test_a_stamp_that_cannot_be_looked_at_any_more_stays_in_doubt(kept, monkeypatch):
    kept.source.stable = False
    for path in (b"same", b"locked"):
        kept.source.write(path, b"content")
    kept.look(b"same", b"locked")
    look = kept.source.look

    def denied(path):
        if path == b"locked":
            raise PermissionError
        return look(path)

    monkeypatch.setattr(kept.source, "look", denied)
    await kept.rechecks.confirm()
    assert (kept.is_firm(b"same"), kept.is_firm(b"locked")) == (True, False)


async def test_what_could_not_be_read_before_a_restart_is_tried_again(kept):
    kept.source.write(b"file", b"content")
    kept.source.unreadable[b"file"] = "Permission denied"
    kept.source.write(b"denied", b"content")
    kept.look(b"denied")
    kept.source.denied[b"denied"] = errno.EIO
    kept.look(b"file", b"denied")

    kept.rechecks = Rechecks(kept.tree, kept.pool)  # as after a restart
    kept.look(b"file", b"denied")
    assert kept.rechecks.troubles() == [b"denied", b"file"]
    assert sorted(kept.rechecks.retries(100.0)) == [b"denied", b"file"]

    del kept.source.unreadable[b"file"], kept.source.denied[b"denied"]
    kept.look(b"file", b"denied")
    assert kept.rechecks.troubles() == []
