"""What the two processes of a restore share, and what happens when one of them ends."""

import errno
import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from replicator.agent.fencing import open_locks
from replicator.agent.hashing import helper_thread
from replicator.agent.restore import http_connection, job, live_changes, second_process
from replicator.agent.restore.fetch import BUFFER, Connection, FetchFailed
from replicator.agent.restore.live_changes import LiveChanges
from replicator.agent.restore.second_process import Claims, SecondProcess
from replicator.agent.restore.shared_lock import SharedLock
from replicator.agent.restore.workers import THREADS
from replicator.wire.changes import Delete, Move
from tests.support.processes import children_of, runs
from tests.support.restoring import Run, assert_part_of, base_of, files_of, picture
from tests.support.stores import fence_of, store_at
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


class Crowd:
    """A fault that holds answers back until as many are wanted as only two processes request at once, and it is released."""

    def __init__(self, base, http):
        self.wanted, self.released = threading.Semaphore(0), threading.Event()
        for pack in base.packs:
            http.always[pack.digest.hex()] = self

    def __call__(self, connection, answer):
        self.wanted.release()
        assert self.released.wait(60)
        connection.sendall(answer)
        return True

    def gather(self):
        """Wait until each thread of both processes has requested a pack."""
        for _ in range(2 * THREADS):
            assert self.wanted.acquire(timeout=60)


class Restore:
    """A restore by two processes, all of whose threads wait for the store.

    Attributes:
        second: process id of the second one.
    """

    def __init__(self, source, http, target, **more):
        self.base = base_of(source, http)
        self.crowd = Crowd(self.base, http)
        before = children_of(os.getpid())
        self.run = Run(self.base, http, target, **more)
        self.run.processes = 2
        self.run.start()
        self._answering = threading.Thread(target=self._answer)
        self._answering.start()
        self.crowd.gather()
        (self.second,) = set(children_of(os.getpid())) - set(before)

    def _answer(self):
        self.report = self.run.end()

    def end(self):
        """Let the store answer; return the report."""
        self.crowd.released.set()
        self._answering.join(60)
        assert not runs(self.second)
        return self.report


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(job, "MANY", 0)
    monkeypatch.setattr(http_connection, "GRACE", 60)


def test_both_create_files_and_the_report_counts_all_of_them(source, target, http):
    report = Restore(source, http, target).end()
    assert picture(target) == picture(source)
    assert (report.files, report.skipped, report.failed, report.error) == (111, 0, 0, "")
    assert report.content == sum(len(row[2]) for row in files_of(source).values())


def test_if_the_second_is_killed_what_it_has_not_created_is_left_out(source, target, http):
    restore = Restore(source, http, target)
    os.kill(restore.second, signal.SIGKILL)
    wait_for(lambda: not runs(restore.second), "its end")
    report = restore.end()
    assert report.error == "the second process has ended early"
    assert 0 < len(files_of(target)) < len(files_of(source))
    assert_part_of(target, source)


def test_an_error_is_heard_while_the_backend_sends_no_url():
    asked, answered, ends = threading.Event(), threading.Event(), []

    def urls(_pack, _fresh):
        asked.set()
        assert answered.wait(60)
        raise FetchFailed("no URL")

    def ended(reason, fenced):
        ends.append((reason, fenced))
        answered.set()

    def work(link):
        second_process._send(link._channel, {"url": [0, False]})
        second_process._send(link._channel, {"ended": "no_space", "fenced": False})
        link._answers.readline()

    second = SecondProcess(work, lambda: True, LiveChanges(SharedLock()), urls, ended)
    assert asked.wait(60)
    second.join()
    assert ends == [("no_space", False)]


def test_a_newer_agent_fences_both(source, target, http):
    store = store_at(target, lineage=b"backend")
    restore = Restore(source, http, target, store=store)
    before = files_of(target)
    locks = open_locks()
    newer = fence_of(store.tree.root_fd, b"backend", locks)
    newer.check()
    restore.end()
    os.close(locks)
    assert restore.run.job.fenced is not None
    assert files_of(target) == before


def test_too_many_live_deletions_end_both(source, target, http, monkeypatch):
    monkeypatch.setattr(live_changes, "MOST", 3)
    restore = Restore(source, http, target)
    with restore.run.live.lock:
        for number in range(5):
            restore.run.live.note(Delete(1, 1, b"x%d" % number))
    report = restore.end()
    assert report.error == "too many live changes"
    assert len(files_of(target)) <= 1 + 2 * THREADS  # each may have begun one


def test_nothing_is_created_by_either_once_changes_are_not_noted_any_more(source, target, http):
    restore = Restore(source, http, target)
    restore.run.live.close()
    report = restore.end()
    assert files_of(target).keys() == {b"d1/empty"}
    assert report.skipped == len(files_of(source)) - 1


def test_the_second_ends_although_its_threads_hang(source, target, http, monkeypatch):
    monkeypatch.setattr(second_process, "GRACE", 0.1)
    monkeypatch.setattr(Connection, "interrupt", lambda self: None)
    restore = Restore(source, http, target)
    restore.run.job.stop("the connection was lost")
    wait_for(lambda: not runs(restore.second), "its end")
    assert restore.end().error == "the connection was lost"


def test_both_hash_large_files_in_a_thread_of_their_own(source, target, http):
    assert helper_thread() is not None  # of this process
    for number in range(9):
        (source / f"large{number}").write_bytes(os.urandom(BUFFER + number))
    Restore(source, http, target).end()
    assert picture(target) == picture(source)


def test_a_store_that_has_answered_one_process_is_not_given_up_early_by_the_other(
    source, target, http, monkeypatch
):
    monkeypatch.setattr(http_connection, "FIRST", 0.2)
    restore = Restore(source, http, target)
    time.sleep(0.5)  # the time that passes is what is tested
    report = restore.end()
    assert (report.failed, report.error) == (0, "")


def test_sigchld_may_be_ignored(source, target, http):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        report = Restore(source, http, target).end()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (report.files, report.error) == (111, "")


class NoFork:
    def __init__(self, monkeypatch):
        def fails():
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        monkeypatch.setattr(os, "fork", fails)


class NoThread:
    """There is no thread to listen to the second process."""

    def __init__(self, monkeypatch):
        start = threading.Thread.start

        def fails(thread):
            if thread.name == "second process":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", fails)


@pytest.mark.parametrize("shortage", [NoFork, NoThread])
def test_without_a_second_process_everything_is_done_by_the_first(
    source, target, http, monkeypatch, shortage
):
    before = children_of(os.getpid())
    run = Run(base_of(source, http), http, target)
    run.processes = 2
    shortage(monkeypatch)
    with run:
        pass
    assert (run.report.failed, run.report.error) == (0, "")
    assert picture(target) == picture(source)
    assert children_of(os.getpid()) == before


@contextmanager
def forked(act):
    """Have a forked process call `act` and wait until it is killed, at the end; yield a descriptor with the result."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(60)  # which kills it if the test is killed
        try:
            os.write(write, act())
            signal.pause()
        finally:
            os._exit(0)
    os.close(write)
    try:
        yield read
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)


@pytest.fixture
def lock():
    lock = SharedLock()
    with lock:
        lock.share()
    return lock


def test_one_process_at_a_time_is_inside_the_lock_and_the_kernel_releases_it(lock):
    entered = threading.Event()

    def enter():
        with lock:
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    with forked(lambda: lock.__enter__() or b"inside") as said:
        assert os.read(said, 10) == b"inside"
        thread.start()
        assert not entered.wait(0.1)  # the time that passes is what is tested
    assert entered.wait(60)


def test_each_task_is_taken_by_one_process(lock):
    tasks = Claims(lock).of(iter(range(250)))
    first = next(tasks)
    with forked(lambda: bytes([first, *tasks])) as said:
        ours = list(tasks)
        theirs = list(os.read(said, 1000))[1:]
    assert sorted([first, *ours, *theirs]) == list(range(250))


def test_a_forked_process_learns_what_is_removed_after_it_was_forked(lock):
    live = LiveChanges(lock)
    with lock:
        live.note(Delete(1, 1, b"before"))
        live.share()
    go, went = os.pipe()
    paths = [b"before", b"d/old", b"new", b"gone/below", b"other"]

    def admitted():
        live.follow()
        os.read(go, 1)
        with lock:
            return bytes(map(live.admits, paths))

    with forked(admitted) as said:
        with lock:
            live.note(Move(1, 1, b"d/old", b"new"))
            live.note(Delete(1, 1, b"gone"))
        os.write(went, b"x")
        assert list(os.read(said, 10)) == [False, False, False, False, True]
    live.unshare()
    os.close(go)
    os.close(went)


def test_if_the_log_cannot_be_written_nothing_is_created_any_more(lock, monkeypatch):
    live = LiveChanges(lock)
    with lock:
        live.share()
    go, went = os.pipe()

    def admitted():
        live.follow()
        os.read(go, 1)
        return bytes([live.admits(b"other")])

    with forked(admitted) as said:
        with monkeypatch.context() as patch, lock:
            patch.setattr(os, "write", lambda fd, data: len(data) - 1)
            live.note(Delete(1, 1, b"gone"))
        os.write(went, b"x")
        assert list(os.read(said, 10)) == [False]
    assert live.overflowed
    live.unshare()
    os.close(go)
    os.close(went)
