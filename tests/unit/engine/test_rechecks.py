"""Checks at a later time: unstable records are confirmed, unreadable files are tried again, missing paths follow a rename."""

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from replicator.core.debouncer import Debouncer, Work, WorkKind
from replicator.core.rechecks import RETRY, Reason
from replicator.engine.ingest.publisher import Publisher
from replicator.engine.ingest.scan_result import LargeFile
from replicator.engine.ingest.worker import Worker
from replicator.engine.tree import Tree
from replicator.model import Hint, Hinted
from replicator.ports import Verdict
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.fakes.watcher import FakeWatcher
from tests.support.source_state import SITE


class Working:
    """A worker on a tree in memory, whose clock can be advanced."""

    def __init__(self, pool):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.debouncer = Debouncer(cooldown=0.1, max_wait=1.0)
        self.tree = Tree(
            1, b"/source", self.source, self.catalog, FakeWatcher, self.debouncer, SITE, delete=True
        )
        self.pool = pool
        self.restart()

    def restart(self):
        """Forget what is not in the catalog."""
        self.worker = Worker(
            self.tree, Publisher(self.tree, self.pool, lambda _: None), lambda: None, self.pool
        )

    async def check(self, *paths):
        await self.worker.do([Work(WorkKind.CHECK, path) for path in paths])

    async def recheck(self, after=0.0):
        """Do the rechecks that are due after some seconds."""
        await asyncio.sleep(after)
        await self.worker.recheck()

    @property
    def now(self):
        return asyncio.get_running_loop().time()

    @property
    def unreadable(self):
        return self.worker.rechecks.unreadable_paths()

    def is_stable(self, path):
        return self.catalog.records[path].stable


@pytest.fixture
async def working(clock):
    with ThreadPoolExecutor(1) as pool:
        yield Working(pool)


async def test_an_unstable_record_is_confirmed_if_its_stamp_is_unchanged(working):
    working.source.stable = False
    paths = [b"same", b"touched", b"gone", b"pending"]
    for path in paths:
        working.source.write(path, b"content")
    await working.check(*paths)
    await working.recheck(0.5)
    assert not any(working.is_stable(path) for path in paths), "too early"

    working.source.touch(b"touched")
    working.source.remove(b"gone")
    working.debouncer.hint(Hint(Hinted.CHANGED, b"pending"), working.now)
    await working.recheck(2.0)
    assert {path for path in paths if working.is_stable(path)} == {b"same"}
    checked = {work.path for work in working.debouncer.ready(working.now + 1.0)}
    assert checked == {b"touched", b"gone", b"pending"}, "no event named the first two"

    applied = working.catalog.applied
    await working.recheck(10.0)
    assert working.catalog.applied == applied, "a record is confirmed once"


async def test_an_unreadable_file_is_reported_and_tried_again_until_it_is_read_or_deleted(working):
    for path in (b"a", b"b"):
        working.source.write(path, b"content")
        working.source.unreadable[path] = "Permission denied"
    with capture_logs() as lines:
        await working.check(b"a", b"b")
        assert working.unreadable == [b"a", b"b"]
        applied = working.catalog.applied
        await working.recheck(RETRY / 2)
        await working.recheck(RETRY)
    assert working.unreadable == [b"a", b"b"]
    assert working.catalog.applied == applied
    assert len([line for line in lines if line["event"] == "unreadable"]) == 2, "once for each"

    working.source.unreadable.clear()
    working.source.remove(b"b")
    await working.recheck(RETRY + 1)
    assert working.unreadable == []
    await working.recheck(RETRY + 1)
    assert not working.worker.rechecks.has_unreadable


async def test_a_file_that_is_read_in_the_background_is_not_unreadable(working):
    working.source.write(b"huge", b"content")
    working.source.unreadable[b"huge"] = "is being read"
    working.worker.background.add(LargeFile(b"huge", force=False, size=7))
    await working.check(b"huge")
    assert working.unreadable == []


async def test_an_unstable_record_stays_unstable_while_its_directory_cannot_be_read(working):
    working.source.stable = False
    for path in (b"same", b"locked"):
        working.source.write(path, b"content")
    await working.check(b"same", b"locked")
    working.source.denied[b"locked"] = errno.EACCES
    await working.recheck(2.0)
    assert (working.is_stable(b"same"), working.is_stable(b"locked")) == (True, False)


async def test_a_file_that_was_unreadable_before_a_restart_is_tried_again(working):
    working.source.write(b"file", b"content")
    working.source.unreadable[b"file"] = "Permission denied"
    working.source.write(b"denied", b"content")
    await working.check(b"denied")
    working.source.denied[b"denied"] = errno.EIO
    await working.check(b"file", b"denied")

    working.restart()
    await working.check(b"file", b"denied")
    assert working.unreadable == [b"denied", b"file"]
    del working.source.unreadable[b"file"], working.source.denied[b"denied"]
    await working.recheck(RETRY + 1)
    assert working.unreadable == []


@pytest.mark.parametrize("problem", ["missing", "unreadable"])
async def test_a_missing_or_unreadable_file_is_rechecked_by_its_new_name_after_a_rename_above_it(
    working, problem
):
    working.source.mkdir(b"d")
    working.source.write(b"d/f", b"content")
    if problem == "unreadable":
        working.source.unreadable[b"d/f"] = "Permission denied"
    await working.worker.scan_all()
    working.worker.checker.defer()
    if problem == "missing":
        working.source.remove(b"d/f")
    await working.check(b"d/f")
    for path in (b"d", b"d/f"):
        if path in working.source.nodes:
            working.source.nodes[b"e" + path[1:]] = working.source.nodes.pop(path)
    await working.worker.do([Work(WorkKind.RENAME, b"d", b"e")])
    assert b"e/f" in working.catalog.records

    working.source.unreadable.clear()
    await working.recheck(RETRY + 1)
    if problem == "missing":
        assert set(working.catalog.records) == {b"e"}
    else:
        assert working.catalog.records[b"e/f"].problem == ""
        assert working.unreadable == []


async def test_an_unreadable_file_stays_reported_while_it_is_tried_again(working):
    """Such as a large one, which is read in the background, or one that a writer has opened meanwhile."""
    for path in (b"large", b"open"):
        working.source.write(path, b"content")
        working.source.unreadable[path] = "Input/output error"
    await working.check(b"large", b"open")
    working.source.unreadable.clear()
    working.source.verdicts[b"open"] = Verdict.BUSY
    working.worker.checker.longest = 1
    with capture_logs() as lines:
        for _ in range(3):
            await working.recheck(RETRY + 1)
            assert working.unreadable == [b"large", b"open"]
    assert not [line for line in lines if line["event"] == "unreadable"], "it was logged before"


async def test_the_grace_period_of_a_missing_path_starts_again_when_its_directory_is_renamed(
    working,
):
    rechecks = working.worker.rechecks
    rechecks.missing(b"d/f", 0.0)
    rechecks.missing(b"other", 0.1)
    list(rechecks.renamed(b"d", b"e", 0.4))
    assert rechecks.take(Reason.MISSING, 0.7) == [b"other"]
    assert rechecks.take(Reason.MISSING, 0.9) == [b"e/f"]


async def test_an_unreadable_path_that_is_no_longer_recorded_is_forgotten(working):
    working.source.write(b"file", b"content")
    working.source.unreadable[b"file"] = "Permission denied"
    await working.check(b"file")
    working.catalog.apply([], [b"file"], {})
    working.source.remove(b"file")
    await working.recheck(RETRY + 1)
    assert working.unreadable == []
