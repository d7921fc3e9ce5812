"""Contract of ports.Watcher: InotifyWatcher on a real directory and FakeWatcher pass the same tests.

A watcher reports hints, so the contract states which paths a batch covers, not which hints it holds.
"""

import asyncio
import os

import pytest

from replicator.errors import SourceError
from replicator.model import Hinted, is_within
from replicator.watch import queue
from replicator.watch.inotify import InotifyWatcher
from tests.support.fakes.watcher import FakeWatcher
from tests.support.waiting import FOREVER, eventually

ENOUGH = FOREVER
"""Seconds until a missing hint is an error."""


class Inotify:
    """An InotifyWatcher on a real directory."""

    def __init__(self, directory):
        self.root = directory / "root"
        self.root.mkdir()
        self.watcher = InotifyWatcher(
            os.fsencode(self.root), prune=lambda _path, _kind: False, rescan=60.0
        )

    def write(self, path):
        (self.root / os.fsdecode(path)).write_bytes(b"content")

    def overflow(self):
        """Change more than the kernel's queue holds; equal events in a row are one event."""
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
            queued = int(file.read())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(queue, "LATE", ENOUGH)  # nothing is read before the queue is full
            files = [os.open(self.root / name, os.O_WRONLY | os.O_CREAT) for name in "ab"]
            for _ in range(queued // 2 + 1):
                for file in files:
                    os.pwrite(file, b"x", 0)
            for file in files:
                os.close(file)

    def break_root(self):
        self.root.rmdir()


class InMemory:
    """A FakeWatcher that gets a hint for each change."""

    def __init__(self, _directory):
        self.watcher = FakeWatcher()

    def write(self, path):
        self.watcher.hint(path, Hinted.CLOSED)

    def overflow(self):
        self.watcher.overflow()

    def break_root(self):
        self.watcher.failure = "The source cannot be watched."


@pytest.fixture(params=[Inotify, InMemory], ids=lambda made: made.__name__)
def world(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.watcher.close()


@pytest.fixture
async def watcher(world):
    await world.watcher.start()
    return world.watcher


def covers(hint, path):
    if hint.kind is Hinted.SUBTREE:
        return is_within(path, hint.path)
    return path in (hint.path, hint.target)


async def until_covered(watcher, path):
    """Read hints until one covers a path; each batch must hold at least one."""
    async with asyncio.timeout(ENOUGH):
        while True:
            hints = await watcher.hints()
            assert hints
            if any(covers(hint, path) for hint in hints):
                return


async def test_a_change_after_the_start_is_reported(world, watcher):
    for path in (b"one", b"two\xff"):
        world.write(path)
        await until_covered(watcher, path)
    assert watcher.problems() == []
    assert watcher.overflows == 0


async def test_a_change_is_reported_also_if_a_wait_for_hints_was_cancelled(world, watcher):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_on(watcher), 0.05)
    world.write(b"file")
    await until_covered(watcher, b"file")


async def test_it_is_drained_once_every_event_was_returned(world, watcher):
    now = asyncio.get_running_loop().time
    world.write(b"file")
    assert not watcher.is_drained(now())
    await until_covered(watcher, b"file")
    reading = asyncio.get_running_loop().create_task(read_on(watcher))
    await eventually(lambda: watcher.is_drained(now()), "the queue to be empty")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def read_on(watcher):
    while True:
        await watcher.hints()


async def test_it_is_not_drained_before_its_start_and_after_its_close(world):
    assert not world.watcher.is_drained(0.0)
    await world.watcher.start()
    world.watcher.close()
    assert not world.watcher.is_drained(0.0)


async def test_lost_events_are_counted_and_everything_is_to_be_scanned(world, watcher):
    world.overflow()
    await until_covered(watcher, b"any path at all")
    assert watcher.overflows == 1
    world.write(b"later")
    await until_covered(watcher, b"later")


async def test_a_root_that_cannot_be_watched_is_a_source_error(world):
    world.break_root()
    with pytest.raises(SourceError, match="cannot be watched"):
        await world.watcher.start()


async def test_the_interval_of_scans_can_be_changed_and_closing_twice_is_fine(world, watcher):
    watcher.rescan_every(30.0)
    world.write(b"file")
    await until_covered(watcher, b"file")
    watcher.close()
    watcher.close()
    assert watcher.problems() == []


async def test_watches_in_use_are_counted_from_the_start_on(world):
    assert world.watcher.watches()[0] == 0
    assert world.watcher.unheard_files() == []
    await world.watcher.start()
    used, limit = world.watcher.watches()
    assert used >= 1
    assert limit is None or limit >= used


def test_a_watcher_that_was_not_started_can_be_closed(world):
    world.watcher.close()
