"""The worker: what it finds is published once, after the first scan, in order."""

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from replicator.core import guard
from replicator.core.debouncer import Debouncer, Work, WorkKind
from replicator.core.rechecks import Reason
from replicator.engine import loop
from replicator.engine.ingest import checker
from replicator.engine.ingest.catalog_writer import PORTION
from replicator.engine.ingest.publisher import Publisher, run_to_end
from replicator.engine.ingest.scan import WALKED, scan
from replicator.engine.ingest.worker import Worker
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import ROOT, Hint, Hinted
from replicator.ports import Verdict
from replicator.wire import frames, messages
from replicator.wire.changes import Delete, Link, MakeDirectory, Move, PutFile
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.content import digest
from tests.support.fakes.source import FakeSource
from tests.support.fakes.watcher import FakeWatcher
from tests.support.source_state import SITE
from tests.support.waiting import turns


class Working:
    """A worker on a tree in memory."""

    def __init__(self, pool, **how):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.debouncer = Debouncer(cooldown=0.1, max_wait=1.0)
        more = {"delete": True, **how}
        tree = Tree(
            1, b"/source", self.source, self.catalog, FakeWatcher, self.debouncer, SITE, **more
        )
        self.encoded_list = []
        self.on_publish = lambda _encoded: None
        self.publisher = Publisher(tree, pool, self._publish)
        self.deletions = self.publisher.deletions
        self.is_drained = lambda _: True
        drained = lambda since: self.is_drained(since)  # noqa: PLW0108  # tests replace it
        self.worker = Worker(tree, self.publisher, lambda: None, pool, drained)

    def _publish(self, encoded):
        self.encoded_list.append(encoded)
        self.on_publish(encoded)

    def take_changes(self):
        """Return all changes that were published since the last call."""
        decoder = frames.Decoder()
        for encoded in self.encoded_list:
            for frame in encoded.frames:
                decoder.receive(frame)
        self.encoded_list.clear()
        heard = [messages.decode(frame.header) for frame in decoder.frames()]
        return [change for message in heard for change in message.changes]

    async def check(self, *paths):
        await self.worker.do([Work(WorkKind.CHECK, path) for path in paths])

    async def later(self):
        """Let all grace periods be over."""
        await asyncio.sleep(10)

    async def move(self, source, target):
        """Rename on the source, and have the worker follow."""
        for path in sorted(self.source.nodes):
            if path == source or path.startswith(source + b"/"):
                self.source.nodes[target + path[len(source) :]] = self.source.nodes.pop(path)
        await self.worker.do([Work(WorkKind.RENAME, source, target)])


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
async def working(clock, pool):
    made = Working(pool)
    made.source.mkdir(b"d")
    made.source.write(b"d/f", b"content")
    await made.worker.scan_all()
    return made


@pytest.fixture
async def guarded(clock, pool):
    made = Working(pool, delete_guard=0.5)
    made.source.mkdir(b"d")
    await made.worker.scan_all()
    return made


async def test_a_path_that_the_catalog_has_no_more_is_held_until_its_deletion_is_decided(working):
    """A comparison at that moment would take the frontend's file for surplus, without counting it."""
    deleted = []
    apply = working.catalog.apply

    def observed(records, gone, signatures):
        apply(records, gone, signatures)
        deleted.extend((path, working.deletions.is_held(path)) for path in gone)

    working.catalog.apply = observed
    working.take_changes()
    working.source.remove(b"d/f")
    await working.check(b"d/f")
    assert deleted == [(b"d/f", True)]
    assert [type(change) for change in working.take_changes()] == [Delete]
    assert not working.deletions.is_held(b"d/f")


async def test_a_path_that_could_not_be_deleted_from_the_catalog_is_not_held(working):
    def full(*_):
        raise SourceError("disk full")

    working.catalog.apply = full
    working.source.remove(b"d/f")
    with pytest.raises(SourceError, match="disk full"):
        await working.check(b"d/f")
    assert not working.deletions.is_held(b"d/f")


async def test_nothing_is_published_before_the_first_scan_has_ended(pool):
    working = Working(pool)
    working.source.write(b"a", b"content")
    await working.check(b"a")
    await working.worker.scan_all()
    assert b"a" in working.catalog.records
    assert working.take_changes() == []

    working.source.write(b"b", b"content")
    await working.check(b"b")
    assert [type(change) for change in working.take_changes()] == [PutFile]


async def test_creations_are_published_parents_first_and_deletions_children_first(working):
    working.source.mkdir(b"e")
    working.source.write(b"e/g", b"content")
    working.source.remove(b"d")
    await working.check(b"d", b"e", b"e/g")
    take_changes = [(type(change), change.path) for change in working.take_changes()]
    assert set(take_changes) == {
        (Delete, b"d/f"),
        (Delete, b"d"),
        (MakeDirectory, b"e"),
        (PutFile, b"e/g"),
    }
    assert take_changes.index((Delete, b"d/f")) < take_changes.index((Delete, b"d"))
    assert take_changes.index((MakeDirectory, b"e")) < take_changes.index((PutFile, b"e/g"))


async def test_the_rename_of_a_directory_to_an_unused_name_is_published_as_one_change(working):
    await working.move(b"d", b"e")

    (move,) = working.take_changes()
    assert (type(move), move.path, move.target) == (Move, b"d", b"e")
    assert set(working.catalog.records) == {b"e", b"e/f"}


async def test_a_renamed_file_is_published_as_a_link_and_its_old_name_is_deleted_after_the_grace_period(
    working,
):
    working.worker.checker.defer()
    working.source.write(b"a", b"content")
    await working.check(b"a")
    working.take_changes()
    await working.move(b"a", b"b")
    await working.check(b"a", b"b")
    (link,) = working.take_changes()
    assert (type(link), link.path, link.source) == (Link, b"b", b"a")

    await working.worker.recheck()
    assert working.take_changes() == [], "its grace period is not over"
    await working.later()
    await working.worker.recheck()
    assert [(type(change), change.path) for change in working.take_changes()] == [(Delete, b"a")]


@pytest.mark.parametrize("why", ["events wait", "a rename waits", "an event came meanwhile"])
async def test_a_missing_path_is_not_deleted_while_an_event_about_it_may_come(
    working, monkeypatch, why
):
    working.worker.checker.defer()
    working.source.remove(b"d")
    await working.check(b"d")
    if why == "events wait":
        working.is_drained = lambda _: False
    elif why == "a rename waits":
        working.debouncer.hint(Hint(Hinted.MOVED, b"d", b"e", is_directory=True), 1e9)
    else:
        working.worker.heard([Hint(Hinted.CHANGED, b"d")])
        await working.check(b"d")
        assert working.worker.rechecks.take(Reason.MISSING, asyncio.get_running_loop().time()) == []
        return
    await working.later()
    await working.worker.recheck()
    assert working.take_changes() == []
    assert b"d/f" in working.catalog.records
    assert working.worker.rechecks.missing_count, "it is checked again"


def deleted_and_uploaded(working):
    """Return, for each publication since the last call, the paths that were deleted and the paths with new content."""
    both = [
        (
            [part.key.path for part in encoded.parts if part.is_delete],
            [part.key.path for part in encoded.parts if not part.is_delete],
        )
        for encoded in working.encoded_list
    ]
    working.encoded_list.clear()
    return both


@pytest.fixture
async def emptied(working):
    """A large directory was removed, and its grace period is over."""
    working.worker.checker.defer()
    working.source.mkdir(b"d/large")
    paths = [b"d/large/%04d" % number for number in range(5 * PORTION)]
    for path in paths:
        working.source.write(path, path)
    await working.check(b"d/large", *paths)
    deleted_and_uploaded(working)
    working.source.remove(b"d")
    await working.check(b"d")
    await working.later()
    working.gone = {b"d", b"d/f", b"d/large", *paths}
    return working


async def test_an_upload_is_published_between_the_portions_of_a_large_deletion(emptied):
    emptied.source.write(b"upload", b"content")
    emptied.debouncer.hint(Hint(Hinted.CLOSED, b"upload"), 0.0)
    await emptied.worker.recheck()
    published = deleted_and_uploaded(emptied)
    assert all(len(deleted) <= PORTION + 2 for deleted, _ in published)
    at = next(at for at, (_, uploaded) in enumerate(published) if uploaded == [b"upload"])
    assert sum(len(deleted) for deleted, _ in published[:at]) <= PORTION
    deletions = [path for deleted, _ in published for path in deleted]
    assert len(deletions) == len(emptied.gone)
    assert set(deletions) == emptied.gone
    assert deletions.index(b"d/large") > deletions.index(b"d/large/0000")
    assert deletions[-1] == b"d"
    assert set(emptied.catalog.records) == {b"upload"}


async def test_deletions_of_a_large_directory_do_not_wait_in_the_line_of_live_changes(emptied):
    await emptied.worker.recheck()
    with_frames = [encoded.parts for encoded in emptied.encoded_list if encoded.frames]
    without = [encoded.parts for encoded in emptied.encoded_list if not encoded.frames]
    assert sum(map(len, without)) == 5 * PORTION
    assert [part.key.path for parts in with_frames for part in parts] == [b"d/large", b"d/f", b"d"]


@pytest.mark.parametrize("how", ["it is there again", "its event comes", "it is there and checked"])
async def test_the_rest_of_a_large_directory_that_appears_again_is_not_deleted(emptied, how):
    def published(_encoded):
        if emptied.source.nodes.get(b"d") is None and how != "its event comes":
            emptied.source.mkdir(b"d")
            emptied.source.mkdir(b"d/large")
            emptied.source.write(b"d/large/0000", b"new")
        if how != "it is there again":
            emptied.debouncer.hint(Hint(Hinted.CHANGED, b"d"), 0.0)

    emptied.on_publish = published
    await emptied.worker.recheck()
    deletions = [path for deleted, _ in deleted_and_uploaded(emptied) for path in deleted]
    assert 0 < len(deletions) <= 2 * PORTION
    assert {b"d", b"d/large", b"d/large/0000"} <= set(emptied.catalog.records)
    assert not {b"d", b"d/large", b"d/large/0000"} & {*deletions}
    assert emptied.worker.rechecks.missing_count, "it is checked again"


async def test_a_missing_file_that_is_written_again_while_a_large_directory_is_deleted_is_kept(
    emptied,
):
    emptied.source.write(b"page", b"old")
    await emptied.check(b"page")
    emptied.source.remove(b"page")
    await emptied.check(b"page")
    await emptied.later()
    deleted_and_uploaded(emptied)

    def published(_encoded):
        if emptied.source.nodes.get(b"page") is None:
            emptied.source.write(b"page", b"new")
            emptied.debouncer.hint(Hint(Hinted.CLOSED, b"page"), 0.0)

    emptied.on_publish = published
    await emptied.worker.recheck()
    deletions, uploads = zip(*deleted_and_uploaded(emptied), strict=True)
    assert [b"page"] in uploads
    assert b"page" not in [path for deleted in deletions for path in deleted]
    assert b"page" in emptied.catalog.records
    assert b"d" not in emptied.catalog.records


def rename_with_event_after(working, source, target, checked):
    """Rename a directory on the source; its event comes while the worker waits for events, after the first check of the new name."""
    working.worker.checker.defer()
    for path in sorted(working.source.nodes):
        if path == source or path.startswith(source + b"/"):
            working.source.nodes[target + path[len(source) :]] = working.source.nodes.pop(path)
    take_changes = []

    def is_drained(_):
        if not take_changes:
            take_changes.append(
                working.debouncer.hint(Hint(Hinted.MOVED, source, target, is_directory=True), 0.0)
            )
        return True

    working.is_drained = is_drained
    return working.check(*checked)


@pytest.mark.parametrize("checked", [[b"e"], [b"e", b"e/f"], [b"e/f"]])
async def test_a_check_before_the_event_of_a_rename_leaves_the_new_name_to_the_rename(
    working, checked
):
    await rename_with_event_after(working, b"d", b"e", checked)
    assert working.take_changes() == []
    assert set(working.catalog.records) == {b"d", b"d/f"}

    while work := working.debouncer.ready(1e9):
        await working.worker.do(work)
    (move,) = working.take_changes()
    assert (type(move), move.path, move.target) == (Move, b"d", b"e")
    assert set(working.catalog.records) == {b"e", b"e/f"}


async def test_a_scan_before_the_event_of_a_rename_leaves_the_new_name_to_the_rename(working):
    for number in range(200):
        working.source.write(b"d/%d" % number, b"content")
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    working.take_changes()
    await rename_with_event_after(working, b"d", b"e", [])
    await working.worker.do([Work(WorkKind.SCAN, ROOT)])
    while work := working.debouncer.ready(1e9):
        await working.worker.do(work)
    (move,) = working.take_changes()
    assert (type(move), move.path, move.target) == (Move, b"d", b"e")


async def test_a_new_directory_with_the_inode_of_a_missing_one_is_published_at_once(
    working,
):
    working.worker.checker.defer()
    working.source.nodes[b"e"] = working.source.nodes.pop(b"d")
    working.source.nodes[b"e/f"] = working.source.nodes.pop(b"d/f")
    working.source.mkdir(b"e/sub")
    await working.check(b"e/f", b"e", b"e/sub")
    while work := working.debouncer.ready(asyncio.get_running_loop().time()):
        await working.worker.do(work)
    take_changes = [change.path for change in working.take_changes()]
    assert take_changes[0] == b"e"
    assert sorted(take_changes) == [b"e", b"e/f", b"e/sub"]
    assert not working.worker.checker._new


async def test_a_rename_into_a_directory_with_a_pending_rename_is_left_to_the_checks(working):
    working.source.write(b"g", b"content")
    working.worker.checker.defer()
    await working.check(b"g")
    working.take_changes()
    await rename_with_event_after(working, b"d", b"e", [])
    await working.move(b"g", b"e/g")
    assert working.take_changes() == []
    while work := working.debouncer.ready(1e9):
        await working.worker.do(work)
    await working.check(b"e/g")
    take_changes = [(type(change), change.path) for change in working.take_changes()]
    assert [path for _, path in take_changes] == [b"d", b"e/g"]
    assert take_changes[0][0] is Move


async def test_a_rename_of_an_unrecorded_path_publishes_nothing(working):
    await working.move(b"unknown", b"e")
    assert working.take_changes() == []


@pytest.mark.parametrize("known", [None, "file"])
async def test_a_rename_below_an_unrecorded_directory_is_published_after_the_directory(
    working, known
):
    if known:
        working.source.write(b"new", b"content")
        await working.check(b"new")
        working.take_changes()
        del working.source.nodes[b"new"]
    working.source.mkdir(b"new")
    await working.move(b"d", b"new/d")

    made, move = working.take_changes()
    assert (type(made), made.path) == (MakeDirectory, b"new")
    assert (type(move), move.target) == (Move, b"new/d")


async def test_held_deletions_follow_a_rename(guarded):
    working = guarded
    working.deletions.admit([b"d/gone-%d" % number for number in range(200)], 1e9)
    await working.move(b"d", b"e")

    assert working.deletions.is_held(b"e/gone-7")


async def test_a_mass_deletion_pauses_deletions_before_it_has_ended(guarded, monkeypatch):
    working = guarded
    monkeypatch.setattr(guard, "MANY", 100)
    for number in range(600):
        working.source.write(b"d/%d" % number, b"content")
    await working.worker.scan_all()
    for number in range(600):
        working.source.remove(b"d/%d" % number)
    await working.check(*(b"d/%d" % number for number in range(600)))

    assert "were removed in one go" in working.deletions.paused


async def test_without_delete_a_rename_keeps_the_old_name(pool):
    working = Working(pool, delete=False)
    working.source.write(b"a", b"content")
    await working.worker.scan_all()
    working.source.mkdir(b"d")
    await working.worker.do([Work(WorkKind.SCAN, b"")])
    working.take_changes()
    await working.move(b"a", b"b")
    await working.move(b"d", b"e")
    await working.worker.do([Work(WorkKind.SCAN, b"")])
    assert [type(change) for change in working.take_changes()] == [Link, MakeDirectory]


async def test_a_file_that_changed_without_an_event_while_unstable_is_checked_again(working):
    working.source.stable = False
    working.source.write(b"e", b"content")
    await working.check(b"e")
    working.source.touch(b"e")
    await working.later()
    await working.worker.recheck()
    assert working.debouncer.is_pending(b"e")


async def test_a_file_that_is_being_written_is_checked_again(working):
    working.source.write(b"busy", b"half")
    working.source.verdicts[b"busy"] = Verdict.BUSY
    await working.check(b"busy")
    assert working.debouncer.is_pending(b"busy")
    assert working.worker.rechecks.unreadable_paths() == []
    assert working.worker.pending == 0


async def test_a_source_in_doubt_publishes_nothing_and_leaves_nothing_in_progress(working):
    working.source.away = "gone"
    working.source.nodes.clear()
    with pytest.raises(SourceError):
        await working.check(b"d")
    assert working.take_changes() == []
    assert b"d/f" in working.catalog.records
    assert working.worker.pending == 0


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_rename_is_locked_until_it_is_published_even_if_the_worker_is_cancelled(
    working, interrupted
):
    """A task that reads the catalog to send or to compare would take the old names for deleted, before they are renamed."""
    renaming = working.catalog.renaming
    entered, go_on = threading.Event(), threading.Event()
    move = working.catalog.move

    def slow(source, target):
        move(source, target)
        entered.set()
        assert go_on.wait(10)

    working.catalog.move = slow
    task = asyncio.ensure_future(working.move(b"d", b"e"))
    await asyncio.to_thread(entered.wait, 10)
    if interrupted:
        task.cancel()
        await turns()
    assert renaming.locked()
    assert working.encoded_list == []
    go_on.set()
    with suppress(asyncio.CancelledError):
        await task
    assert not renaming.locked()
    assert [(type(change), change.path) for change in working.take_changes()] == [(Move, b"d")]


async def test_what_a_cancelled_check_has_stored_is_published(working):
    entered, go_on = threading.Event(), threading.Event()
    apply = working.catalog.apply

    def slow(*what):
        apply(*what)
        entered.set()
        assert go_on.wait(10)

    working.catalog.apply = slow
    working.source.write(b"d/g", b"content")
    task = asyncio.ensure_future(working.check(b"d/g"))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await turns()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [change.path for change in working.take_changes()] == [b"d/g"]


async def test_run_to_end_hides_a_failure_after_a_cancellation():
    async def fail():
        await turns()
        raise SourceError("gone")

    task = asyncio.ensure_future(run_to_end(fail()))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(SourceError):
        await run_to_end(fail())


async def test_an_upload_is_checked_during_a_scan(working):
    for number in range(1000):
        working.source.write(b"d/%04d" % number, b"content")
    working.worker.checker.defer()
    working.source.write(b"upload", b"content")
    working.debouncer.hint(Hint(Hinted.CLOSED, b"upload"), 0.0)
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    take_changes = [change.path for change in working.take_changes()]
    assert len(take_changes) == 1001
    assert take_changes.index(b"upload") < 200


async def test_a_check_during_a_scan_respects_that_a_file_is_not_closed(working):
    for number in range(1000):
        working.source.write(b"d/%04d" % number, b"content")
    working.worker.checker.defer()
    working.source.write(b"upload", b"half of it")
    working.debouncer.hint(Hint(Hinted.WRITTEN, b"upload"), -10.0)
    asked = []
    snapshot = working.source.snapshot

    def noted(path, base, *, force=False, unclosed=False):
        asked.append((path, unclosed))
        return snapshot(path, base, force=force, unclosed=unclosed)

    working.source.snapshot = noted
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    assert (b"upload", False) not in asked


async def test_a_scan_without_differences_lets_checks_run(working):
    for number in range(3000):
        working.source.write(b"d/%04d" % number, b"content")
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    working.worker.checker.defer()
    working.source.write(b"upload", b"content")
    working.take_changes()
    walked = []
    walk = working.source.walk

    def counted(below):
        for seen in walk(below):
            walked.append(seen.path)
            yield seen

    working.source.walk = counted
    working.on_publish = lambda _encoded: walked.append(b"published")
    working.debouncer.hint(Hint(Hinted.CLOSED, b"upload"), 0.0)
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    assert walked.index(b"published") < 1000


@pytest.mark.parametrize("what", ["files", "their directory"])
async def test_a_scan_that_misses_very_many_paths_lets_checks_run(working, what):
    """Neither the comparison nor the check of all that is missing is one piece of work."""
    paths = [b"d/%04d" % number for number in range(4 * WALKED)]
    working.source.write(b"kept", b"content")
    for path in paths:
        working.source.write(path, b"content")
    await working.worker.do([Work(WorkKind.SCAN, ROOT)])
    working.worker.checker.defer()
    for path in paths if what == "files" else [*paths, b"d"]:
        del working.source.nodes[path]
    looks, records = [], 0
    get, pages = working.catalog.get, working.catalog.scan

    def counted_get(wanted):
        looks.append(len(wanted))
        return get(wanted)

    def counted_scan(*arguments):
        nonlocal records
        found = pages(*arguments)
        records += len(found)
        return found

    working.catalog.get, working.catalog.scan = counted_get, counted_scan
    portions, missing, before = [], [], 0
    for found in scan(working.worker.checker, ROOT):
        portions.append(records - before)
        before = records
        missing += found.missing
    assert missing == (paths if what == "files" else [b"d"])
    assert len(portions) >= 8, "four while it compares, and four while it checks"
    assert max(portions) <= 2 * WALKED
    assert sum(looks) < 3 * len(paths)


async def test_publishing_many_changes_lets_other_tasks_run(working, monkeypatch):
    monkeypatch.setattr(loop, "LONGEST", 0.0)
    others = []

    async def other():
        while True:
            others.append(len(working.encoded_list))
            await turns()

    for number in range(1000):
        working.source.write(b"d/%04d" % number, b"content")
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    working.encoded_list.clear()
    working.source.remove(b"d")
    task = asyncio.ensure_future(other())
    await working.check(b"d")
    task.cancel()
    assert len(working.encoded_list) > 3
    assert set(range(len(working.encoded_list))) <= set(others)


async def test_an_unreadable_file_is_published_once(working):
    working.source.write(b"f", b"content")
    working.source.unreadable[b"f"] = "Permission denied"
    working.source.denied[b"d/f"] = errno.EIO
    await working.check(b"f", b"d/f")
    assert len(working.encoded_list) == 2
    working.encoded_list.clear()
    before = working.catalog.applied
    await working.check(b"f", b"d/f")
    assert (working.encoded_list, working.catalog.applied) == ([], before)

    working.source.unreadable[b"f"] = "Input/output error"
    await working.check(b"f")
    assert len(working.encoded_list) == 1


async def test_held_deletions_are_published_without_frames(guarded):
    for number in range(10 * guard.FREE):
        guarded.source.write(b"d/%d" % number, b"content")
    await guarded.worker.scan_all()
    guarded.encoded_list.clear()
    for number in range(2 * guard.FREE):
        guarded.source.remove(b"d/%d" % number)
    await guarded.check(*[b"d/%d" % number for number in range(2 * guard.FREE)])
    passed = {change.path for change in guarded.take_changes()}
    assert guarded.deletions.held == 2 * guard.FREE - len(passed)
    while True:
        await guarded.publisher.release_deletions()
        if not guarded.deletions.has_released:
            break
    assert not any(encoded.frames for encoded in guarded.encoded_list)
    still_pending = {
        part.key.path
        for encoded in guarded.encoded_list
        for part in encoded.parts
        if part.is_delete
    }
    assert still_pending | passed == {b"d/%d" % number for number in range(2 * guard.FREE)}


async def switch(working, files):
    """Write a release of many files, then have a symlink lead to it instead of to the release before, which is removed."""
    working.source.symlink(b"current", b"d")
    await working.worker.scan_all()
    working.worker.checker.defer()
    working.take_changes()
    loop = asyncio.get_running_loop()
    working.source.mkdir(b"r")
    names = [b"r", *(b"r/%d" % number for number in range(files))]
    for name in names[1:]:
        working.source.write(name, b"content")
    working.source.symlink(b"current", b"r")
    working.source.remove(b"d")
    for name in (*names, b"current", b"d", b"d/f"):
        working.debouncer.hint(Hint(Hinted.CHANGED, name), loop.time())
    return names


async def test_a_symlink_that_is_switched_is_published_after_the_files_that_were_written_before(
    working,
):
    names = await switch(working, 60)
    while work := working.debouncer.ready(asyncio.get_running_loop().time(), 8):
        await working.worker.do(work)
    take_changes = [change.path for change in working.take_changes()]
    assert set(take_changes) == {*names, b"current"}
    assert take_changes[-1] == b"current"


async def test_nothing_is_deleted_while_a_symlink_waits_for_the_files_that_were_written_before(
    working,
):
    await switch(working, 60)
    turns = 0
    while work := working.debouncer.ready(asyncio.get_running_loop().time(), 8):
        await working.worker.do(work)
        turns += 1
        if turns == 6:
            assert working.worker.rechecks.missing_count
            await working.later()
            await working.worker.recheck()
            assert not any(isinstance(change, Delete) for change in working.take_changes())
    await working.later()
    await working.worker.recheck()
    take_changes = working.take_changes()
    assert [type(change) for change in take_changes][-2:] == [Delete, Delete]
    assert b"current" in [change.path for change in take_changes[:-2]]


async def test_a_scan_publishes_a_symlink_after_the_files_that_it_finds(working):
    working.source.symlink(b"current", b"d")
    await working.worker.scan_all()
    working.take_changes()
    working.source.mkdir(b"r")
    for number in range(200):
        working.source.write(b"r/%d" % number, b"content")
    working.source.symlink(b"current", b"r")
    await working.worker.do([Work(WorkKind.SCAN, ROOT)])
    assert [change.path for change in working.take_changes()][-1] == b"current"


async def test_a_symlink_that_is_switched_again_meanwhile_waits_for_the_files_of_its_new_target(
    working,
):
    await switch(working, 60)
    loop = asyncio.get_running_loop()
    await working.worker.do(working.debouncer.ready(loop.time(), 8))
    working.source.symlink(b"current", b"s")
    working.source.mkdir(b"s")
    files = {b"s/%d" % number for number in range(60)}
    for name in sorted(files):
        working.source.write(name, b"content")
    for name in (b"s", *sorted(files)):
        working.debouncer.hint(Hint(Hinted.CHANGED, name), loop.time())
    while work := working.debouncer.ready(loop.time(), 8):
        await working.worker.do(work)
    await working.worker.recheck()
    take_changes = [change.path for change in working.take_changes()]
    assert files <= set(take_changes[: take_changes.index(b"current")])


@pytest.mark.parametrize("how", ["moved", "collapsed"])
async def test_a_symlink_waits_for_files_that_only_a_scan_finds(working, how):
    working.source.symlink(b"current", b"d")
    await working.worker.scan_all()
    working.worker.checker.defer()
    working.take_changes()
    loop = asyncio.get_running_loop()
    working.source.mkdir(b"r")
    files = {b"r/%d" % number for number in range(300)}
    for name in files:
        working.source.write(name, b"content")
    working.source.symlink(b"current", b"r")
    if how == "moved":
        working.debouncer.hint(Hint(Hinted.SUBTREE, b"tmp"), loop.time())
        working.debouncer.hint(Hint(Hinted.MOVED, b"tmp", b"r", is_directory=True), loop.time())
    else:
        working.debouncer._collapse(loop.time())
    working.debouncer.hint(Hint(Hinted.CHANGED, b"current"), loop.time())
    while len(working.debouncer) or working.worker.put_off:
        await working.worker.do(working.debouncer.ready(loop.time(), 8))
        await working.worker.recheck()
        await asyncio.sleep(0.05)
    changed = [change.path for change in working.take_changes()]
    assert files <= set(changed[: changed.index(b"current")])


async def halted_and_opened_again(working):
    """What the pipeline does after a SourceError: see Pipeline._watch."""
    working.worker.rechecks.forget_missing()
    working.debouncer.clear()
    await working.worker.open_root()
    working.worker.checker.defer_huge()
    await working.worker.scan_all()
    working.worker.checker.defer()


@pytest.mark.parametrize("how", ["cancelled", "doubt"])
async def test_a_path_that_was_missing_before_a_halt_and_exists_after_it_is_not_deleted(
    working, how, monkeypatch
):
    working.worker.checker.defer()
    working.source.write(b"page", b"content")
    working.source.write(b"q", b"content")
    working.source.write(b"other", b"content")
    await working.check(b"page", b"q", b"other")
    working.take_changes()
    saved = working.source.nodes[b"page"]
    for path in (b"page", b"q"):
        working.source.remove(path)
    await working.check(b"page", b"q")
    await working.later()
    if (
        how == "cancelled"
    ):  # another task of the pipeline has failed, so the TaskGroup cancels this one
        recheck = asyncio.ensure_future(working.worker.recheck())
        real = working.worker._missing.found

        def found(*args):
            real(*args)
            recheck.cancel()

        monkeypatch.setattr(working.worker._missing, "found", found)
        with suppress(asyncio.CancelledError):
            await recheck
        monkeypatch.setattr(working.worker._missing, "found", real)
    else:  # the root fails during the check of the missing paths, after its first part (8 MB)
        monkeypatch.setattr(checker, "CHUNK_BYTES", 3)
        working.source.write(b"z", b"content")
        await working.check(b"z")
        working.source.remove(b"z")
        await working.check(b"z")
        await working.later()
        working.source.write(b"q", b"written again")  # its content ends the first part
        real_stat = working.source.stat

        def stat(path):
            raise SourceError("the root is gone")

        working.on_publish = lambda _encoded: setattr(working.source, "stat", stat)
        with pytest.raises(SourceError):
            await working.worker.recheck()
        working.source.stat = real_stat
        working.on_publish = lambda _encoded: None

    # The path is there again, for example because the volume was mounted again.
    working.source.nodes[b"page"] = saved
    await halted_and_opened_again(working)
    working.take_changes()
    assert b"page" in working.catalog.records

    working.source.remove(b"other")
    await working.check(b"other")
    await working.later()
    await working.worker.recheck()
    deleted = [c.path for c in working.take_changes() if isinstance(c, Delete)]
    assert b"page" in working.source.nodes
    assert b"page" not in deleted
    assert b"page" in working.catalog.records
    assert b"other" in deleted


async def test_a_file_that_is_changed_and_restored_while_a_scan_reads_others_is_published(
    working, monkeypatch
):
    """Records are read once for a chunk of 64 paths, but the chunk is published in parts, with checks in between."""
    working.worker.checker.defer()
    for path in (b"d/a", b"d/b", b"d/page"):
        working.source.write(path, b"old")
    await working.check(b"d/a", b"d/b", b"d/page")
    working.take_changes()
    monkeypatch.setattr(checker, "CHUNK_BYTES", 3)
    working.source.write(b"d/a", b"new version")
    working.source.write(b"d/b", b"new version")
    kept = working.source.nodes[b"d/page"]
    working.source.write(b"d/page", b"changed")  # seen by the walk
    sent = {}

    def published(encoded):
        names = [part.key.path for part in encoded.parts]
        if b"d/a" in names:  # an event of the page is due: it is checked between the two parts
            working.debouncer.hint(Hint(Hinted.CLOSED, b"d/page"), 0.0)
        if b"d/page" in names and "restored" not in sent:
            sent["restored"] = True
            # `mv page.bak page`: same content, size and mtime; another stamp (ctime)
            working.source.nodes[b"d/page"] = replace(kept, changed=kept.changed + 10)
            working.debouncer.hint(
                Hint(Hinted.CHANGED, b"d/page"), asyncio.get_running_loop().time()
            )

    working.on_publish = published
    await working.worker.do([Work(WorkKind.SCAN, b"d")])
    await working.later()
    while work := working.debouncer.ready(asyncio.get_running_loop().time() + 100):
        await working.worker.do(work)
    last = [change for change in working.take_changes() if change.path == b"d/page"][-1]
    assert working.catalog.records[b"d/page"].entry.digest == digest(b"old")
    assert getattr(last, "entry", last).digest == digest(b"old")
