"""Barriers: passed when everything that was hinted before is published, and not because of what comes later."""

import asyncio
from types import SimpleNamespace

import pytest

from replicator.core.debouncer import Debouncer
from replicator.core.rechecks import Rechecks
from replicator.engine.ingest.barriers import Barriers
from replicator.model import Hint, Hinted


class Held:
    def __init__(self):
        self.paths = []

    def held_paths(self):
        return list(self.paths)

    def is_held(self, path):
        return path in self.paths


class Stage:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.debouncer = Debouncer(cooldown=0.5, max_wait=4.0)
        self.background = {}
        self.rechecks = Rechecks()
        self.held = Held()
        self.put_off = {}
        worker = SimpleNamespace(
            background=self.background, rechecks=self.rechecks, put_off=self.put_off
        )
        self.barriers = Barriers(self.debouncer, worker, self.held, lambda: None)

    def hint(self, path, kind=Hinted.CHANGED, **more):
        self.debouncer.hint(Hint(kind, path), self.loop.time(), **more)

    async def passes(self, barrier):
        # Virtual: longer than the pause after a check, which is 20 times as long as the check took.
        await asyncio.sleep(3600)
        self.barriers.update()
        return barrier.passed_at is not None

    def barrier(self, path=b""):
        return self.barriers.add(path, self.loop.time())


@pytest.fixture
async def stage(clock):
    return Stage()


async def test_a_quiet_tree_passes_at_once(stage):
    barrier = stage.barrier()
    stage.barriers.update()
    assert barrier.passed_at == stage.loop.time()


async def test_a_pending_check_is_waited_for_and_brought_forward(stage):
    stage.hint(b"d/f")
    stage.debouncer.ready(stage.loop.time())
    stage.hint(b"d/f")  # within its cooldown
    barrier = stage.barrier(b"d")
    elsewhere = stage.barrier(b"e")
    stage.barriers.update()
    assert (barrier.passed_at, barrier.waits_for) == (None, "d/f is to be checked")
    assert elsewhere.passed_at is not None
    assert [work.path for work in stage.debouncer.ready(stage.loop.time())] == [b"d/f"]
    assert await stage.passes(barrier)


async def test_a_file_that_is_being_written_is_named(stage):
    stage.hint(b"f", Hinted.WRITTEN)
    barrier = stage.barrier()
    stage.barriers.update()
    assert barrier.waits_for == "f is being written"


async def test_what_follows_from_a_check_is_waited_for(stage):
    stage.hint(b"f")
    barrier = stage.barrier()
    assert not await stage.passes(barrier)
    stage.debouncer.ready(stage.loop.time())
    stage.hint(b"other-name", derived=True)
    assert not await stage.passes(barrier)
    stage.debouncer.ready(stage.loop.time())
    stage.background[b"large"] = 1
    stage.rechecks.missing(b"gone", stage.loop.time())
    stage.held.paths = [b"held"]
    assert not await stage.passes(barrier)
    assert barrier.waits_for == "held is a deletion that is held back"
    stage.held.paths = []
    assert not await stage.passes(barrier)
    assert "gone is missing" in barrier.waits_for
    stage.rechecks.heard(b"gone")
    assert not await stage.passes(barrier)
    assert barrier.waits_for == "large is being read"
    del stage.background[b"large"]
    stage.put_off[b"link"] = 1
    later = stage.barrier(b"link")
    assert not await stage.passes(later)
    assert later.waits_for == "link is a symlink that waits for new files"
    stage.put_off.clear()
    assert await stage.passes(later)
    stage.rechecks.missing(b"later", stage.loop.time())
    assert await stage.passes(barrier)


async def test_a_missing_path_whose_directory_is_renamed_is_waited_for_by_its_new_name(stage):
    stage.rechecks.missing(b"d/gone", stage.loop.time())
    barrier = stage.barrier()
    assert not await stage.passes(barrier)
    list(stage.rechecks.renamed(b"d", b"e", stage.loop.time()))
    assert not await stage.passes(barrier)
    stage.rechecks.heard(b"e/gone")
    assert await stage.passes(barrier)


async def test_a_removed_fence_costs_nothing(stage):
    stage.hint(b"f")
    barrier = stage.barrier()
    stage.barriers.remove(barrier)
    stage.barriers.update()
    assert barrier.waits_for == ""
