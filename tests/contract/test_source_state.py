"""Contract of engine.tree.SourceState: a pipeline that reads a source and FakeSourceState pass the same tests."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core import guard
from replicator.core.debouncer import Debouncer
from replicator.core.guard import FREE
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.fakes.watcher import FakeWatcher
from tests.support.source_state import SITE, fake_tree
from tests.support.waiting import eventually, turns


class FromPipeline:
    """The state that a pipeline keeps while it reads a source in memory."""

    def __init__(self, *, delete=True):
        self.source, self.catalog, self.watcher = FakeSource(), FakeCatalog(), FakeWatcher()
        self.source.write(b"file", b"content")
        self.tree = Tree(
            1, b"/source", self.source, self.catalog, lambda: self.watcher,
            Debouncer(cooldown=0.01, max_wait=1.0), SITE, delete=delete, delete_guard=0.5,
        )  # fmt: skip
        self._task = self._pool = None
        self.published = []

    async def prepare(self):
        self._pool = ThreadPoolExecutor(1)
        self._pipeline = Pipeline(self.tree, self._pool, self._publish)

    def _publish(self, encoded):
        self.published += [part.key.path for part in encoded.parts]

    async def record(self, path):
        """Let a new file be recorded; return a function that lets it be published."""
        apply, release = self.catalog.apply, threading.Event()

        def applied(*given):
            apply(*given)
            assert release.wait(10)

        self.catalog.apply = applied
        self.source.write(path, b"new")
        self.watcher.hint(path)
        await eventually(lambda: path in self.catalog.records, "the record")
        return release.set

    async def scan(self):
        self._task = asyncio.get_running_loop().create_task(self._pipeline.run())
        await eventually(lambda: self.tree.comparable, "the first scan")

    async def halt(self):
        self.source.away = "The source is missing."
        self.watcher.hinted.put_nowait(SourceError(self.source.away))
        await eventually(lambda: self.tree.state.halted, "the halt")

    async def pause_deletions(self):
        self.catalog.pause("Too many paths are missing.", 100, [b"missing"])
        await self.close()
        await self.prepare()
        await self.scan()

    async def hold_deletions(self):
        """Delete so many paths that their deletion is held back; return one of them."""
        names = [b"%d" % number for number in range(2 * FREE)]
        for name in names:
            self.source.write(name, name)
            self.watcher.hint(name)
        await eventually(lambda: len(self.catalog.records) > len(names), "the new files")
        for name in names:
            self.source.remove(name)
            self.watcher.hint(name)
        await eventually(
            lambda: any(map(self.tree.state.is_deletion_held, names)), "deletions to be held"
        )
        return next(filter(self.tree.state.is_deletion_held, names))

    def change(self, path):
        self.source.hashed.clear()
        self.source.write(path, b"changed")

    async def rechecked(self, path):
        await eventually(lambda: path in self.source.hashed, "a check")

    async def close(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown()


class FromFake:
    """A FakeSourceState."""

    def __init__(self, *, delete=True):
        self.tree = fake_tree(FakeSource(), FakeCatalog(), delete=delete)
        self.published = []

    async def record(self, path):
        self.tree.state.is_published.clear()

        def publish():
            self.published.append(path)
            self.tree.state.is_published.set()

        return publish

    async def prepare(self):
        self.tree.state.scanned.clear()

    async def scan(self):
        self.tree.state.scanned.set()

    async def halt(self):
        self.tree.state.halted = "The source is missing."

    async def pause_deletions(self):
        self.tree.state.paused = "Too many paths are missing."

    async def hold_deletions(self):
        self.tree.state.held.add(b"held")
        return b"held"

    def change(self, path):
        pass

    async def rechecked(self, path):
        await eventually(lambda: path in self.tree.state.rechecked, "a check")

    async def close(self):
        pass


@pytest.fixture(params=[FromPipeline, FromFake], ids=lambda made: made.__name__)
def implementation(request):
    return request.param


@pytest.fixture
async def world(implementation, monkeypatch):
    monkeypatch.setattr(guard, "CALM", 3600.0)  # what is held back stays so until it is seen
    monkeypatch.setattr(guard, "HOLD", 3600.0)
    made = implementation()
    await made.prepare()
    yield made
    await made.close()


async def test_a_source_is_in_doubt_until_it_was_scanned(world):
    state = world.tree.state
    assert "is still being scanned" in state.doubt
    assert (state.scanned.is_set(), state.halted, world.tree.comparable) == (False, "", False)
    await world.scan()
    assert (state.scanned.is_set(), state.halted, world.tree.comparable) == (True, "", True)
    assert state.doubt == ""
    assert state.deletions_allowed


async def test_a_rescan_ends_with_the_source_scanned_or_in_doubt(world):
    await asyncio.wait_for(
        world.tree.state.rescan(), 10
    )  # not scanned yet: the first scan is to come
    await world.scan()
    await asyncio.wait_for(world.tree.state.rescan(), 10)
    assert world.tree.state.doubt == ""
    await world.halt()
    await asyncio.wait_for(world.tree.state.rescan(), 10)


async def test_what_was_recorded_is_published_when_that_was_waited_for(world):
    state = world.tree.state
    await asyncio.wait_for(state.published(), 10)  # nothing is published before the first scan
    await world.scan()
    publish = await world.record(b"new")
    waiting = asyncio.ensure_future(state.published())
    await turns(20)
    assert not waiting.done()
    publish()
    await asyncio.wait_for(waiting, 10)
    assert b"new" in world.published
    await world.halt()
    await asyncio.wait_for(state.published(), 10)


async def test_a_halted_source_is_in_doubt_for_the_same_reason(world):
    await world.scan()
    await world.halt()
    state = world.tree.state
    assert state.doubt == state.halted == "The source is missing."
    assert not world.tree.comparable


async def test_paused_deletions_are_not_allowed_and_the_source_is_in_doubt(world):
    await world.scan()
    await world.pause_deletions()
    state = world.tree.state
    assert not state.deletions_allowed
    assert state.doubt == "Too many paths are missing."
    assert world.tree.comparable, "additions go on"


async def test_deletions_are_not_allowed_for_a_tree_that_keeps_files(implementation):
    made = implementation(delete=False)
    await made.prepare()
    assert not made.tree.state.deletions_allowed
    await made.close()


async def test_a_deletion_that_is_held_back_is_named_by_its_path(world):
    await world.scan()
    state = world.tree.state
    held = await world.hold_deletions()
    assert state.is_deletion_held(held)
    assert not state.is_deletion_held(b"file")
    assert state.deletions_allowed


async def test_a_recheck_may_be_asked_for_by_any_thread(world):
    await world.scan()
    state = world.tree.state
    world.change(b"file")
    thread = threading.Thread(target=state.recheck, args=(b"file",))
    thread.start()
    thread.join()
    await world.rechecked(b"file")
