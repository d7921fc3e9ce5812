"""watch.inotify with the real kernel: every change of a tree causes a hint, at any depth."""

import asyncio
import contextlib
import ctypes
import errno
import gc
import itertools
import os
import random
import resource
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from replicator.errors import SourceError
from replicator.model import DIRECTORY, Hint, Hinted, is_below, join, parent, rebase
from replicator.watch import inotify, queue
from replicator.watch.inotify import InotifyWatcher
from tests.support.waiting import FOREVER, eventually, turns

CHANGED, WRITTEN, CLOSED = Hinted.CHANGED, Hinted.WRITTEN, Hinted.CLOSED
TOUCHED = Hinted.TOUCHED
CONTENTS, MOVED, SUBTREE = Hinted.CONTENTS, Hinted.MOVED, Hinted.SUBTREE
DEADLINE = FOREVER


def excluded(path, kind):
    return kind == DIRECTORY and path.rpartition(b"/")[2] == b"cache"


class Ear:
    """Collects the hints of a watcher."""

    def __init__(self, watcher):
        self.watcher = watcher
        self.hints: list[Hint] = []
        self.mirror: Mirror | None = None

    async def until(self, condition):
        """Listen until condition() is true."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                with contextlib.suppress(TimeoutError):  # some conditions come true without a hint
                    received = await asyncio.wait_for(self.watcher.hints(), 0.1)
                    self.hints += received
                    for hint in received if self.mirror is not None else ():
                        self.mirror.follow(hint)

    async def heard(self, *hints):
        await self.until(lambda: all(hint in self.hints for hint in hints))

    async def quiet(self, root):
        """Wait until the hints of all earlier changes were received, if these are few."""
        mark = b"mark-%d" % len(self.hints)
        (Path(os.fsdecode(root)) / os.fsdecode(mark)).touch()
        await self.heard(Hint(CLOSED, mark))
        await asyncio.sleep(inotify.HOLD)
        other = mark + b"-2"
        (Path(os.fsdecode(root)) / os.fsdecode(other)).touch()
        await self.heard(Hint(CLOSED, other))

    def of(self, path, *kinds):
        return [
            h for h in self.hints if path in (h.path, h.target) and (not kinds or h.kind in kinds)
        ]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
async def ear(root):
    watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60.0)
    await watcher.start()
    yield Ear(watcher)
    if root.is_dir():
        consistent(watcher, root)
    watcher.close()


def watched_paths(watcher):
    return {watcher.watched.path_of(wd) for wd in watcher.watched}


def directories(root, below=b""):
    found = {below}
    for entry in os.scandir(os.path.join(bytes(root), below)):
        path = join(below, entry.name)
        if entry.is_dir(follow_symlinks=False) and not excluded(path, DIRECTORY):
            found |= directories(root, path)
    return found


def consistent(watcher, root):
    """Assert that every watch is of the directory at its recorded path."""
    for wd in watcher.watched:
        path = watcher.watched.path_of(wd)
        full = os.path.join(bytes(root), path) if path is not None else b""
        if os.path.isdir(full):
            directory = os.open(full, os.O_RDONLY | os.O_DIRECTORY)
            try:
                assert watcher.add_watch(directory) == wd
            finally:
                os.close(directory)


def covers(hints, path):
    """True if a hint causes a check of the path."""
    return any(
        (h.kind is SUBTREE and (not h.path or path.startswith(h.path + b"/")))
        or (h.kind in (CHANGED, TOUCHED, CLOSED) and h.path == path)
        or (h.kind is MOVED and h.target == path)
        for h in hints
    )


async def test_write(ear, root):
    (root / "f").write_bytes(b"1")
    await ear.heard(Hint(WRITTEN, b"f"), Hint(CLOSED, b"f"), Hint(CONTENTS, b""))


async def test_deep_directories_made_at_once(ear, root):
    paths = []
    for number in range(200):
        directory = root / f"{number}" / "b" / "c" / "d"
        directory.mkdir(parents=True)
        (directory / "f").write_bytes(b"x")
        paths.append(b"%d/b/c/d/f" % number)
        if number % 20 == 0:
            await turns()
    await ear.until(lambda: all(covers(ear.hints, path) for path in paths))
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == directories(root)
    first = [h for h in ear.hints if h.path == b"7"]
    assert first[0] == Hint(CHANGED, b"7")
    assert Hint(SUBTREE, b"7") in first


async def test_copied_tree(ear, root, tmp_path):
    for number in range(300):
        place = tmp_path / "from" / f"{number % 7}" / f"{number}"
        place.mkdir(parents=True)
        (place / "f").write_bytes(b"x")
    await asyncio.to_thread(shutil.copytree, tmp_path / "from", root / "to")
    paths = [b"to/%d/%d/f" % (number % 7, number) for number in range(300)]
    await ear.until(lambda: all(covers(ear.hints, path) for path in paths))
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == directories(root)


async def test_save_by_renaming(ear, root):
    (root / ".f.swp").write_bytes(b"x")
    (root / ".f.swp").rename(root / "f")
    await ear.heard(Hint(CLOSED, b".f.swp"), Hint(MOVED, b".f.swp", b"f"))


async def test_links_are_complete_at_once(ear, root, tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    os.link(tmp_path / "outside", root / "hard")
    (root / "soft").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    await ear.heard(Hint(CHANGED, b"hard"), Hint(CHANGED, b"soft"), Hint(CHANGED, b"pipe"))
    assert not ear.of(b"hard", WRITTEN)


async def test_attributes_and_deletion(ear, root):
    (root / "f").touch()
    await ear.heard(Hint(CLOSED, b"f"))
    ear.hints.clear()
    (root / "f").chmod(0o600)
    await ear.heard(Hint(TOUCHED, b"f"))
    ear.hints.clear()
    (root / "f").unlink()
    await ear.heard(Hint(TOUCHED, b"f"), Hint(CONTENTS, b""))
    root.chmod(0o750)
    await ear.heard(Hint(CHANGED, b""))


async def test_open_for_writing_and_close_without(ear, root):
    (root / "f").touch()
    await ear.heard(Hint(CLOSED, b"f"))
    ear.hints.clear()
    os.close(os.open(root / "f", os.O_RDWR))
    await ear.heard(Hint(CLOSED, b"f"))


async def test_rename_of_a_directory(ear, root):
    (root / "a" / "b").mkdir(parents=True)
    await ear.heard(Hint(SUBTREE, b"a"))
    await ear.quiet(root)
    (root / "a").rename(root / "z")
    (root / "z" / "b" / "f").write_bytes(b"x")
    await ear.heard(
        Hint(MOVED, b"a", b"z", is_directory=True), Hint(SUBTREE, b"z"), Hint(CLOSED, b"z/b/f")
    )
    assert ear.hints.index(Hint(MOVED, b"a", b"z", is_directory=True)) < ear.hints.index(
        Hint(SUBTREE, b"z")
    )
    assert watched_paths(ear.watcher) == {b"", b"z", b"z/b"}


async def test_rename_in_steps_keeps_its_order(ear, root):
    (root / "a").mkdir()
    await ear.heard(Hint(SUBTREE, b"a"))
    (root / "a").rename(root / "b")
    (root / "b").rename(root / "c")
    await ear.heard(
        Hint(MOVED, b"a", b"b", is_directory=True), Hint(MOVED, b"b", b"c", is_directory=True)
    )
    assert ear.hints.index(Hint(MOVED, b"a", b"b", is_directory=True)) < ear.hints.index(
        Hint(MOVED, b"b", b"c", is_directory=True)
    )
    (root / "c" / "f").touch()
    await ear.heard(Hint(CLOSED, b"c/f"))


@pytest.mark.parametrize("settled", [True, False])
async def test_swap_of_directories(ear, root, settled):
    for name in "ab":
        (root / name / name).mkdir(parents=True)
    if settled:
        await ear.quiet(root)
    (root / "a").rename(root / "t")
    (root / "b").rename(root / "a")
    (root / "t").rename(root / "b")
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == {b"", b"a", b"a/b", b"b", b"b/a"}
    (root / "a" / "b" / "f").touch()
    await ear.heard(Hint(CLOSED, b"a/b/f"))


async def test_exchange_of_directories(ear, root):
    for name in "ab":
        (root / name / name).mkdir(parents=True)
    await ear.quiet(root)
    libc = ctypes.CDLL(None)
    assert libc.renameat2(-100, bytes(root / "a"), -100, bytes(root / "b"), 2) == 0
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == {b"", b"a", b"a/b", b"b", b"b/a"}
    consistent(ear.watcher, root)
    (root / "a" / "b" / "f").touch()
    await ear.heard(Hint(CLOSED, b"a/b/f"))


async def test_move_out_and_in(ear, root, tmp_path):
    (root / "d" / "e").mkdir(parents=True)
    (root / "f").touch()
    await ear.quiet(root)
    ear.hints.clear()
    (root / "d").rename(tmp_path / "d")
    (root / "f").rename(tmp_path / "f")
    await ear.heard(Hint(CHANGED, b"d"), Hint(CHANGED, b"f"))
    assert not [h for h in ear.hints if h.kind is MOVED]
    await ear.until(lambda: watched_paths(ear.watcher) == {b""})
    (tmp_path / "d" / "e" / "unseen").touch()
    (tmp_path / "d").rename(root / "back")
    (tmp_path / "f").rename(root / "f")
    await ear.heard(Hint(CHANGED, b"back"), Hint(SUBTREE, b"back"), Hint(CHANGED, b"f"))
    assert not ear.of(b"d/e/unseen")
    (root / "back" / "e" / "g").touch()
    await ear.heard(Hint(CLOSED, b"back/e/g"))


async def test_a_directory_becomes_a_symlink(ear, root, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (root / "d").mkdir()
    (root / "d").rmdir()
    (root / "d").symlink_to(tmp_path / "elsewhere")
    await ear.quiet(root)
    assert Hint(CHANGED, b"d") in ear.hints
    assert watched_paths(ear.watcher) - {None} == {b""}
    (tmp_path / "elsewhere" / "f").touch()
    await ear.quiet(root)
    assert not ear.of(b"d/f")


async def test_deleted_trees_leave_no_watches(ear, root):
    for _ in range(3):
        for number in range(50):
            (root / "d" / f"{number}").mkdir(parents=True)
        await asyncio.to_thread(shutil.rmtree, root / "d")
    await ear.quiet(root)
    await ear.until(lambda: watched_paths(ear.watcher) == {b""})


async def test_excluded_directories_get_no_watch(ear, root):
    (root / "cache" / "deep").mkdir(parents=True)
    (root / "d").mkdir()
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == {b"", b"d"}
    assert not ear.of(b"cache")
    (root / "cache").rename(root / "kept")
    await ear.heard(Hint(CHANGED, b"kept"), Hint(SUBTREE, b"kept"))
    assert watched_paths(ear.watcher) == {b"", b"d", b"kept", b"kept/deep"}
    (root / "d").rename(root / "cache")
    await ear.heard(Hint(CHANGED, b"d"))
    await ear.until(lambda: watched_paths(ear.watcher) == {b"", b"kept", b"kept/deep"})


async def test_names_of_any_bytes(ear, root):
    names = [b"new\nline", b"\xff\xfe", b"-rf *", b"'q'\"", b"n" * 255, b"tab\t ", b"\x1b[31m"]
    for name in names:
        os.mkdir(os.path.join(bytes(root), name))
    await ear.quiet(root)
    for name in names:
        with open(os.path.join(bytes(root), name, name), "wb"):
            pass
    await ear.heard(*[Hint(CLOSED, join(name, name)) for name in names])


async def test_overflow_is_a_walk_and_new_watches(ear, root, monkeypatch):
    (root / "before").mkdir()
    await ear.quiet(root)
    monkeypatch.setattr(queue, "LATE", DEADLINE)  # the thread reads once more at most
    ear.hints.clear()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    flip = [root / "x", root / "y"]
    flip[0].touch()
    for number in range(2 * limit):
        os.rename(flip[number % 2], flip[1 - number % 2])
    (root / "before").rename(root / "after")
    (root / "new" / "deep").mkdir(parents=True)
    await ear.heard(Hint(SUBTREE, b""))
    await ear.quiet(root)
    assert watched_paths(ear.watcher) == {b"", b"after", b"new", b"new/deep"}
    (root / "new" / "deep" / "f").touch()
    (root / "after" / "f").touch()
    await ear.heard(Hint(CLOSED, b"new/deep/f"), Hint(CLOSED, b"after/f"))


class Limited(InotifyWatcher):
    """A watcher to which the kernel grants few watches."""

    granted = 3
    error = errno.ENOSPC

    def add_watch(self, directory):
        if len(self.watched) >= self.granted:
            raise OSError(self.error, os.strerror(self.error))
        return super().add_watch(directory)


MANY = 20_000
"""Files; the kernel queues 16,384 events by default, and each file causes one or more."""


async def test_no_event_of_a_bulk_change_is_lost_while_the_loop_is_busy(ear, root):
    (root / "bulk").mkdir()
    await ear.quiet(root)
    for number in range(MANY):
        (root / "bulk" / f"{number}").touch()
    await ear.until(lambda: ear.watcher.is_drained(asyncio.get_running_loop().time()))
    ear.hints.clear()
    for change in ("chmod", "remove"):
        for number in range(MANY):
            path = root / "bulk" / f"{number}"
            path.chmod(0o600) if change == "chmod" else path.unlink()
        assert not ear.watcher.is_drained(asyncio.get_running_loop().time())
        await ear.until(lambda: ear.watcher.is_drained(asyncio.get_running_loop().time()))
        touched = {hint.path for hint in ear.hints if hint.kind is TOUCHED}
        assert touched == {b"bulk/%d" % number for number in range(MANY)}
        ear.hints.clear()
    assert ear.watcher.overflows == 0


@pytest.mark.parametrize(
    "change", ["chmod -R go= bulk", "rm bulk/*/*", "for f in bulk/*/*; do echo again > $f; done"]
)
async def test_an_upload_is_heard_before_the_rest_of_a_bulk_change(ear, root, change):
    for number in range(40):
        make_few = root / "bulk" / f"{number}"
        make_few.mkdir(parents=True)
        for file in range(100):
            (make_few / f"{file}").touch()
    await ear.quiet(root)
    (root / "uploads").mkdir()
    await ear.quiet(root)
    await ear.until(lambda: ear.watcher.is_drained(asyncio.get_running_loop().time()))
    ear.hints.clear()
    subprocess.run(["/bin/sh", "-c", change], cwd=root, check=True)
    (root / "uploads" / "upload").write_bytes(b"upload")
    while Hint(CLOSED, b"uploads/upload") not in ear.hints:
        ear.hints += await ear.watcher.hints()
    assert not ear.watcher.is_drained(asyncio.get_running_loop().time()), "the rest still waits"
    await ear.until(lambda: ear.watcher.is_drained(asyncio.get_running_loop().time()))


async def test_watch_limit_degrades_to_rescans(root):
    for name in ("a", "b", "c", "d"):
        (root / name / "deep").mkdir(parents=True)
    watcher = Limited(bytes(root), prune=excluded, rescan=0.05)
    await watcher.start()
    try:
        [problem] = watcher.problems()
        current = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
        assert "fs.inotify.max_user_watches" in problem
        assert f"it is {current}" in problem
        assert f"sysctl -w fs.inotify.max_user_watches={current + 6}" in problem
        assert "6 directories" in problem
        watched = watched_paths(watcher)
        unwatched = {p for p in directories(root) - watched if parent(p) in watched}
        ear = Ear(watcher)
        await ear.heard(*[Hint(SUBTREE, path) for path in unwatched])
        watcher.granted = 1000
        await ear.until(lambda: not watcher.problems())
        assert watched_paths(watcher) == directories(root)
    finally:
        watcher.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
async def test_root_without_a_watch_is_rescanned(root, error):
    (root / "d").mkdir()
    watcher = Limited(bytes(root), prune=excluded, rescan=0.05)
    watcher.granted, watcher.error = 0, error
    await watcher.start()
    try:
        ear = Ear(watcher)
        await ear.heard(Hint(SUBTREE, b""))
        assert len(watcher.problems()) == 1
    finally:
        watcher.close()


async def test_very_many_directories_without_a_watch_are_remembered_as_one(root, monkeypatch):
    monkeypatch.setattr("replicator.watch.arm.MOST_UNWATCHED", 5)
    for number in range(30):
        (root / f"{number}").mkdir()
    watcher = Limited(bytes(root), prune=excluded, rescan=0.05)
    await watcher.start()
    try:
        assert "28 directories" in watcher.problems()[0]
        watcher.granted = 1000
        await Ear(watcher).until(lambda: not watcher.problems())
        assert watched_paths(watcher) == directories(root)
    finally:
        watcher.close()


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
async def test_a_root_that_vanishes_is_reported(root, how, monkeypatch):
    monkeypatch.setattr(inotify, "ROOT_CHECK", 0.05)
    watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60.0)
    await watcher.start()
    if how == "moved":
        root.rename(root.parent / "elsewhere")
    else:
        root.rmdir()
    if how == "replaced":
        root.mkdir()
    await Ear(watcher).heard(Hint(CHANGED, b""))
    assert "no longer the directory" in watcher.problems()[0]
    watcher.close()


async def test_a_missing_inotify_instance_or_root_is_an_error(root, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(SourceError, match="No such file"):
        await InotifyWatcher(b"/nowhere/at/all", prune=excluded, rescan=60).start()
    monkeypatch.setattr(queue, "INotify", refuse)
    with pytest.raises(SourceError, match=r"fs\.inotify\.max_user_instances"):
        await InotifyWatcher(bytes(root), prune=excluded, rescan=60).start()


async def test_a_watcher_without_descriptors_is_an_error_and_leaves_none_open(root):
    """However many there are: a watcher needs several."""
    queue.INotify().close()  # has the C library looked up, once in a process
    (root / "a").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    outcomes = []
    for left in range(12):
        watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60)
        with descriptors(left):
            try:
                await watcher.start()
                outcomes.append(True)
            except SourceError:
                outcomes.append(False)
        watcher.close()
        assert len(os.listdir("/proc/self/fd")) == before
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {True, False}


@contextlib.contextmanager
def descriptors(left):
    """Let this process open so many more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = set(map(int, os.listdir("/proc/self/fd")))
    free = itertools.islice((fd for fd in itertools.count() if fd not in used), left, None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(free), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_hints_that_a_cancelled_call_has_read_are_returned_by_the_next(ear, root, tmp_path):
    """A directory left the tree, which is known only once the second half of a rename has not come."""
    (root / "leaves").mkdir()
    for number in range(3000):
        (tmp_path / "big" / f"{number}").mkdir(parents=True)
    await ear.quiet(root)
    ear.hints.clear()
    (tmp_path / "big").rename(root / "big")
    (root / "leaves").rename(tmp_path / "left")
    hearing = asyncio.create_task(ear.watcher.hints())
    watched = ear.watcher.watches()[0]
    await eventually(lambda: ear.watcher.watches()[0] > watched, "some watches", pause=0)
    hearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert not ear.watcher.is_drained(0.0)
    await ear.heard(Hint(SUBTREE, b"big"), Hint(CHANGED, b"leaves"))
    await ear.until(lambda: ear.watcher.is_drained(0.0))
    assert None not in watched_paths(ear.watcher)


async def test_close_leaves_no_descriptors(root):
    (root / "a" / "b").mkdir(parents=True)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60)
        await watcher.start()
        waiting = asyncio.create_task(watcher.hints())
        await turns()
        waiting.cancel()
        watcher.close()
        watcher.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert len(os.listdir("/proc/self/fd")) <= len(before)


async def test_close_while_a_thread_arms(root):
    for number in range(2000):
        (root / f"{number}").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60)
    starting = asyncio.create_task(watcher.start())
    await eventually(lambda: watcher.watches()[0], "the first watches", pause=0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    watcher.close()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "the thread to end")


async def test_close_waits_for_no_thread_that_hangs_and_all_is_released_when_it_goes_on(
    root, monkeypatch
):
    before = len(os.listdir("/proc/self/fd"))
    watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60)
    hanging, answered = threading.Event(), threading.Event()

    def steps(_):
        hanging.set()
        assert answered.wait(DEADLINE)  # as a call does to a file system that does not answer
        yield

    monkeypatch.setattr(watcher, "_steps", steps)
    starting = asyncio.create_task(watcher.start())
    assert await asyncio.to_thread(hanging.wait, DEADLINE)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    watcher.close()
    assert not answered.is_set()
    assert watcher.problems() == []
    assert not watcher.is_drained(0.0)
    answered.set()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "the thread to go on")


async def test_a_watcher_that_could_not_start_is_closed(root, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))

    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for name in ("TreeMounts", "MountEvents"):
        with monkeypatch.context() as patch:
            patch.setattr(inotify, name, refuse)
            watcher = InotifyWatcher(bytes(root), prune=excluded, rescan=60)
            with pytest.raises(SourceError):
                await watcher.start()
            watcher.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_big_tree_that_moves_in_does_not_stop_the_loop(ear, root, tmp_path):
    for number in range(3000):
        (tmp_path / "big" / f"{number}").mkdir(parents=True)
    felt = 0

    async def feel():
        nonlocal felt
        while True:
            await asyncio.sleep(0.001)
            felt += 1

    feeling = asyncio.create_task(feel())
    (tmp_path / "big").rename(root / "big")
    await ear.heard(Hint(SUBTREE, b"big"))
    feeling.cancel()
    assert felt > 10, "turns of the loop while 3000 directories are watched"
    assert watched_paths(ear.watcher) == directories(root)
    (root / "big" / "2999" / "f").touch()
    await ear.heard(Hint(CLOSED, b"big/2999/f"))


@pytest.mark.parametrize("seed", range(8))
async def test_random_havoc_ends_with_the_right_watches(ear, root, seed):
    """Renames, deletions and creations, unread for a while: afterwards each directory has its watch, under its name."""
    chance = random.Random(seed)
    for _ in range(40):
        for _ in range(chance.randrange(1, 30)):
            havoc(root, chance)
        if chance.random() < 0.5:
            with contextlib.suppress(TimeoutError):
                ear.hints += await asyncio.wait_for(ear.watcher.hints(), 0.001)
    await ear.quiet(root)
    await ear.quiet(root)
    assert watched_paths(ear.watcher) - {None} == directories(root)
    consistent(ear.watcher, root)
    for path in sorted(directories(root)):
        (root / os.fsdecode(path) / "probe").touch()
        await ear.heard(Hint(CLOSED, join(path, b"probe")))


def havoc(root, chance):
    """Do one random thing to the directories below `root`."""
    places = [root / os.fsdecode(path) for path in sorted(directories(root))]
    place = chance.choice(places)
    target = chance.choice(places) / chance.choice("abcd")
    kind = chance.random()
    with contextlib.suppress(OSError):
        if kind < 0.5:
            target.mkdir()
        elif kind < 0.85 and place != root:
            place.rename(target)
        elif place != root:
            place.rmdir()


class Mirror:
    """A copy of a tree's names that is updated by hints only."""

    def __init__(self, root):
        self.root = bytes(root)
        self.inodes: dict[bytes, int] = {}

    def follow(self, hint):
        if hint.kind is MOVED:
            moved = {p: i for p, i in self.inodes.items() if at_or_below(p, hint.path)}
            for path in [p for p in self.inodes if at_or_below(p, hint.target)] + list(moved):
                self.inodes.pop(path, None)
            self.inodes |= {rebase(p, hint.path, hint.target): i for p, i in moved.items()}
            self.update(hint.target)
        elif hint.kind is SUBTREE:
            known = {p for p in self.inodes if is_below(p, hint.path)}
            for path in known | set(tree(self.root, hint.path)):
                self.update(path)
        elif hint.kind in (CHANGED, TOUCHED, CLOSED):
            self.update(hint.path)

    def update(self, path):
        try:
            self.inodes[path] = os.lstat(os.path.join(self.root, path)).st_ino
        except OSError:
            for gone in [p for p in self.inodes if at_or_below(p, path)]:
                del self.inodes[gone]


def at_or_below(path, directory):
    return path == directory or is_below(path, directory)


def tree(root, below=b""):
    """Return {path: inode} of all below a directory."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            path = join(below, entry.name)
            found[path] = entry.inode()
            if entry.is_dir(follow_symlinks=False):
                found |= tree(root, path)
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_a_mirror_that_follows_the_hints_equals_the_tree(ear, root, seed):
    """A thread wreaks havoc with files and directories meanwhile; in the end the mirror is the tree."""

    def wreak():
        chance = random.Random(seed)
        for number in range(600):
            with contextlib.suppress(OSError):
                havoc(root, chance)
                place = chance.choice(sorted(directories(root)))
                file = root / os.fsdecode(place) / f"f{number % 9}"
                kind = chance.random()
                if kind < 0.4:
                    file.write_bytes(b"x")
                elif kind < 0.7:
                    file.rename(root / chance.choice(["f1", "f2", "a/f3", "b/f4"]))
                elif kind < 0.8:
                    file.unlink()

    mirror = ear.mirror = Mirror(root)
    wreaking = asyncio.create_task(asyncio.to_thread(wreak))
    await ear.until(wreaking.done)
    await wreaking
    await ear.quiet(root)
    await ear.quiet(root)
    assert mirror.inodes == tree(bytes(root))
    assert watched_paths(ear.watcher) - {None} == directories(root)
