"""The pipeline: hints become changes; a source in doubt halts it until it is back."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core import guard
from replicator.core.debouncer import Debouncer
from replicator.core.guard import FREE
from replicator.engine.ingest import pipeline
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import Hint, Hinted
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.fakes.watcher import FakeWatcher
from tests.support.source_state import SITE
from tests.support.waiting import eventually


class Watched:
    """A tree in memory that is watched.

    Attributes:
        watchers: all that were made, in order.
        published: paths of all published changes.
    """

    def __init__(self, pool):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.watchers, self.published = [], []
        debouncer = Debouncer(cooldown=0.01, max_wait=1.0)
        tree = Tree(
            1, b"/source", self.source, self.catalog, self._watch, debouncer, SITE, delete=True, delete_guard=0.5
        )  # fmt: skip
        self.pipeline = Pipeline(tree, pool, self._publish)

    def _watch(self):
        self.watchers.append(FakeWatcher())
        return self.watchers[-1]

    def _publish(self, encoded):
        self.published += [part.key.path for part in encoded.parts]

    async def watching(self):
        await eventually(self.pipeline.scanned.is_set, "a scan")
        await eventually(lambda: not self.pipeline.halted, lambda: self.pipeline.halted)

    async def halted(self):
        await eventually(lambda: self.pipeline.halted, "a halt")


@pytest.fixture
async def watched(monkeypatch):
    monkeypatch.setattr(pipeline, "ROOT_POLL", 0.01)
    with ThreadPoolExecutor(2) as pool:
        made = Watched(pool)
        made.source.write(b"known", b"content")
        task = asyncio.get_running_loop().create_task(made.pipeline.run())
        await made.watching()
        yield made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert all(watcher.closed for watcher in made.watchers)


async def test_a_hint_becomes_a_published_change(watched):
    watched.source.write(b"new", b"content")
    watched.watchers[0].hint(b"new")
    await eventually(lambda: watched.published == [b"new"], lambda: watched.published)
    await eventually(lambda: not watched.pipeline.pending, "nothing to be left")


async def test_a_recheck_that_a_reader_asks_for_publishes_the_change(watched):
    watched.source.write(b"known", b"changed")
    watched.pipeline.recheck(b"known")
    await eventually(lambda: watched.published == [b"known"], lambda: watched.published)


async def test_a_rescan_publishes_a_change_without_an_event_before_it_returns(watched):
    watched.source.write(b"known", b"changed")
    await watched.pipeline.rescan()
    assert watched.published == [b"known"]


async def test_the_whole_tree_is_scanned_at_intervals(monkeypatch):
    monkeypatch.setattr(pipeline, "RESCAN", 0.01)
    monkeypatch.setattr(pipeline, "RESCAN_SHARE", 0)
    with ThreadPoolExecutor(2) as pool:
        made = Watched(pool)
        task = asyncio.get_running_loop().create_task(made.pipeline.run())
        await made.watching()
        for name in (b"first", b"second"):
            made.source.write(name, b"content")
            await eventually(lambda name=name: name in made.published, "a scan")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_rescan_ends_when_the_source_is_in_doubt(watched):
    watched.source.away = "away"
    await watched.pipeline.rescan()
    await watched.halted()
    assert watched.published == []
    await watched.pipeline.rescan()  # and one that begins then does not wait


async def test_a_source_in_doubt_halts_and_is_scanned_when_it_is_back(watched):
    watched.source.away = "away"
    watched.source.remove(b"known")
    watched.watchers[0].hint(b"known")
    await watched.halted()
    assert watched.pipeline.problems() == ["away"]
    assert watched.published == []

    watched.source.write(b"known", b"content")
    watched.source.write(b"new", b"content")
    watched.source.away = ""
    await watched.watching()
    await eventually(
        lambda: set(watched.published) == {b"known", b"new"}, lambda: watched.published
    )
    assert len(watched.watchers) > 1


async def test_a_rename_before_a_halt_does_not_apply_to_what_the_scan_finds(watched):
    """Otherwise the new `a` would be taken for the renamed one, and its files would be checked below `b`."""
    for path in (b"a", b"b"):
        watched.source.mkdir(path)
    watched.watchers[0].hint(b"a")
    watched.watchers[0].hint(b"b")
    await eventually(lambda: {b"a", b"b"} <= watched.catalog.records.keys(), "both to be known")
    watched.source.away = "away"
    watched.source.remove(b"known")
    watched.watchers[0].hint(b"known")
    await watched.halted()
    watched.source.write(b"a/new", b"content")
    watched.pipeline.tree.debouncer.hint(Hint(Hinted.MOVED, b"a", b"b"), 0.0)
    watched.source.away = ""
    await watched.watching()
    await eventually(lambda: not watched.pipeline.pending, "nothing to be left")

    assert b"a/new" in watched.catalog.records


async def test_deletions_that_are_held_back_are_pending(watched, monkeypatch):
    monkeypatch.setattr(guard, "CALM", 3600.0)
    monkeypatch.setattr(guard, "HOLD", 3600.0)
    names = [b"%d" % number for number in range(2 * FREE)]
    for name in names:
        watched.source.write(name, name)
        watched.watchers[0].hint(name)
    await eventually(lambda: len(watched.published) == len(names), lambda: watched.published)
    await eventually(lambda: not watched.pipeline.pending, "all to be known")
    for name in names:
        watched.source.remove(name)
        watched.watchers[0].hint(name)
    ours = watched.pipeline
    await eventually(
        lambda: 0 < ours.deletions.held == ours.pending,
        "deletions to be held, and nothing else to be left",
    )
    assert len(ours.tree.debouncer) == 0


async def test_a_watcher_that_fails_is_replaced(watched):
    watched.watchers[0].hinted.put_nowait(SourceError("cannot be watched"))
    await eventually(lambda: len(watched.watchers) == 2, "another watcher")
    await watched.watching()
    watched.source.write(b"new", b"content")
    watched.watchers[1].hint(b"new")
    await eventually(lambda: watched.published == [b"new"], lambda: watched.published)


async def test_an_empty_source_halts_until_confirmation(watched):
    watched.source.remove(b"known")
    watched.watchers[0].hinted.put_nowait(SourceError("cannot be watched"))
    await eventually(lambda: "empty" in watched.pipeline.halted, lambda: watched.pipeline.halted)
    assert watched.published == []

    watched.pipeline.resume()
    await watched.pipeline.forget_pause()
    await eventually(lambda: watched.published == [b"known"], lambda: watched.published)
    await watched.watching()
    assert not watched.pipeline.deletions.source_confirmed
