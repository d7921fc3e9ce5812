"""Files that change while they are read, with the real kernel: grown, cut, removed, replaced, swapped and renamed.

Where it can be, the change is made exactly between two readings (a hook on os.pread), not by luck.
"""

import hashlib
import itertools
import mmap
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from tests.support.backend import Backend
from tests.support.uploader import catalog_of, exchange, temporaries, upload
from tests.support.waiting import FOREVER, wait_for

MIB = 1 << 20
DELETED = int(os.environ.get("REPLICATOR_DELETED_FILES", "3000"))


@pytest.fixture
def backend(tmp_path):
    with Backend(tmp_path, tree={"delete_guard": 1}) as backend:
        backend.wait_until_equal()
        yield backend
        backend.wait_until_equal()
        assert not temporaries(backend)
        assert all(row["logins"] == 1 for row in backend.status()["frontends"])  # never cut off


@pytest.fixture
def at_pread(monkeypatch):
    """Return a function: path, n, action; the action runs once, right after the n-th reading of that file."""
    real, lock = os.pread, threading.Lock()
    wanted = {}

    def pread(fd, size, offset):
        data = real(fd, size, offset)
        inode = os.fstat(fd).st_ino
        with lock:
            at = wanted.get(inode)
            if at is not None:
                at[0] -= 1
                if at[0] == 0:
                    at[1]()
                    at[2].set()
        return data

    def hook(inode, nth, action):
        done = threading.Event()
        wanted[inode] = [nth, action, done]
        return done

    monkeypatch.setattr(os, "pread", pread)
    return hook


def sent(backend):
    return {row["host"]: (row["files_sent"], row["bytes_sent"]) for row in backend.status()["frontends"]}  # fmt: skip


def spent(backend, before):
    """What each frontend was sent since `before`: (changes, bytes)."""
    return [(n - before[h][0], b - before[h][1]) for h, (n, b) in sent(backend).items()]


def grow(path):
    with path.open("ab") as file:
        file.write(b"more" * 1000)


def rewrite_with_its_time(path):
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"same size, other content")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path):
    draft = path.with_name("draft")
    draft.write_bytes(b"another file")
    draft.rename(path)


def another_kind(make):
    def change(path):
        path.unlink()
        make(path)

    return change


CHANGES = {
    "grows": grow,
    "shrinks": lambda path: os.truncate(path, 1000),
    "is emptied": lambda path: os.truncate(path, 0),
    "vanishes": lambda path: path.unlink(),
    "is replaced": replace,
    "is renamed": lambda path: path.rename(path.with_name("renamed")),
    "becomes a directory": another_kind(lambda path: path.mkdir()),
    "becomes a symlink": another_kind(lambda path: path.symlink_to("/etc/hostname")),
    "becomes a fifo": another_kind(os.mkfifo),
    "is rewritten with its time restored": rewrite_with_its_time,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_two_readings(backend, tmp_path, at_pread, change):
    paths = [backend.source / "hashed", backend.source / "sent"]
    for path, nth in zip(paths, (2, 8), strict=True):  # hashed in six readings, sent in twelve
        draft = tmp_path / "draft"
        draft.write_bytes(os.urandom(6 * MIB))
        done = at_pread(draft.stat().st_ino, nth, partial(CHANGES[change], path))
        draft.rename(path)
        assert done.wait(FOREVER)
    assert upload(backend, "other") < 10
    if change == "becomes a fifo":
        wait_for(lambda: not {b"hashed", b"sent"} & catalog_of(backend).keys(), "fifos left out")
        for path in paths:
            path.unlink()
    backend.wait_until_equal()


def test_a_file_that_grows_while_it_is_sent_arrives_whole_and_others_meanwhile(backend):
    path, stop = backend.source / "growing", threading.Event()

    def append():
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.01):
                file.write(os.urandom(256 << 10))

    writer = threading.Thread(target=append)
    writer.start()
    try:
        for turn in range(5):
            assert upload(backend, f"other-{turn}") < 10
    finally:
        stop.set()
        writer.join()
    backend.wait_until_equal()


def test_files_that_are_deleted_before_their_check_log_no_warning(backend, capfd):
    before = sent(backend)
    for turn in range(500):
        path = backend.source / f"gone-{turn}"
        path.write_bytes(b"x")
        path.unlink()
    upload(backend, "other")
    backend.wait_until_equal()
    output = "".join(capfd.readouterr())
    # A few are found before they are deleted: sending and deleting these is logged at debug and info.
    loud = [line for line in output.splitlines() if "gone-" in line]
    assert not [line for line in loud if "warning" in line or "error" in line], output
    # A few are met while they are there; the root is no path.
    assert all(changes < 500 for changes, _ in spent(backend, before))


def test_a_directory_of_real_files_becomes_a_symlink_and_the_real_files_stay(backend):
    real = backend.source / "s"
    real.mkdir()
    for number in range(50):
        (real / str(number)).write_bytes(os.urandom(100))
    (backend.source / "d").mkdir()
    for _ in range(5):
        shutil.copytree(real, backend.source / "d" / "s")
        shutil.rmtree(backend.source / "d" / "s")
        (backend.source / "d" / "s").symlink_to("../s")
        upload(backend, "other")
        (backend.source / "d" / "s").unlink()
    (backend.source / "d" / "s").symlink_to("../s")
    backend.wait_until_equal()
    for host in backend.hosts:
        assert (backend.site(host) / "d" / "s").is_symlink()
        assert len(list((backend.site(host) / "s").iterdir())) == 50


KINDS = {
    "file": lambda path: path.write_bytes(b"content"),
    "directory": lambda path: (path.mkdir(), (path / "inside").write_bytes(b"x")),
    "symlink": lambda path: path.symlink_to("elsewhere"),
    "fifo": os.mkfifo,
}


def unmake(path):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_deleted_and_made_again_as_another_kind(backend, at_once):
    pairs = list(itertools.product(KINDS, KINDS))
    fifos = {f"{first}-{second}".encode() for first, second in pairs if second == "fifo"}

    def fifos_are_left_out():
        return backend.quiet() and not fifos & catalog_of(backend).keys()

    for first, second in pairs:
        path = backend.source / f"{first}-{second}"
        KINDS[first](path)
        if at_once:
            unmake(path)
            KINDS[second](path)
    if not at_once:
        wait_for(backend.quiet, "quiet")
        for first, second in pairs:
            unmake(backend.source / f"{first}-{second}")
            KINDS[second](backend.source / f"{first}-{second}")
    wait_for(fifos_are_left_out, "the fifos to be left out")
    for name in fifos:
        os.unlink(os.fsencode(backend.source) + b"/" + name)
    backend.wait_until_equal()
    for path in backend.source.iterdir():
        unmake(path)
    backend.wait_until_equal()


def make(backend, name, kind):
    path = backend.source / name
    if kind == "directory":
        path.mkdir()
        (path / f"in-{name}").write_bytes(name.encode())
    else:
        path.write_bytes(name.encode() * 1000)
    return path


@pytest.mark.parametrize("kinds", ["file file", "file directory", "directory directory"])
@pytest.mark.parametrize("how", ["exchange", "three renames"])
def test_two_names_that_are_swapped(backend, tmp_path, kinds, how):
    one, two = (make(backend, *pair) for pair in zip("ab", kinds.split(), strict=True))
    backend.wait_until_equal()
    for turns in (1, 2, 101):
        for _ in range(turns):
            if how == "exchange":
                exchange(one, two)
            else:
                spare = backend.source / "spare"
                one.rename(spare)
                two.rename(one)
                spare.rename(two)
        backend.wait_until_equal()


def test_a_directory_renamed_three_times_at_once_ends_equal(backend):
    directory = backend.source / "0"
    directory.mkdir()
    for number in range(300):
        (directory / str(number)).write_bytes(os.urandom(1000))
    backend.wait_until_equal()
    for turn in range(3):
        for number in range(3):
            directory = directory.rename(backend.source / f"{turn}-{number}")
        backend.wait_until_equal()


@pytest.mark.timeout(600)
def test_a_tree_is_removed_while_files_are_written_into_it(backend):
    top = backend.source / "top"
    for number in range(DELETED):
        path = top / str(number % 50) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    backend.wait_until_equal(240)
    stop = threading.Event()

    def write():
        # Bounded: where creating files is faster than removing them, rmtree would never end.
        for turn in range(DELETED):
            if stop.wait(0.0002):
                return
            directory = top / str(turn % 50)
            with suppress(OSError):  # its directory is gone
                (directory / f"late-{turn}").write_bytes(b"y")
            with suppress(OSError):
                directory.mkdir(parents=turn % 9 == 0)

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    try:
        for _ in range(3):
            shutil.rmtree(top, ignore_errors=True)
        took = upload(backend, "other")
    finally:
        stop.set()
        writer.join()
    shutil.rmtree(top, ignore_errors=True)
    assert not top.exists()
    backend.wait_until_equal(240)
    print(f"{DELETED} files gone after {time.monotonic() - began:.1f} s, another upload {took:.2f} s", file=sys.stderr)  # fmt: skip


def test_names_of_one_file_follow_each_other(backend):
    one, two = backend.source / "one", backend.source / "two"
    one.write_bytes(b"first")
    os.link(one, two)
    backend.wait_until_equal()
    for turn in range(4):
        with (one, two)[turn % 2].open("r+b") as file:
            file.write(b"%05d" % turn)
        upload(backend, f"other-{turn}")
        backend.wait_until_equal()
    one.unlink()
    two.write_bytes(b"alone")
    backend.wait_until_equal()


def test_a_thousand_rewrites_within_a_second_are_few_transfers(backend):
    path = backend.source / "hot"
    path.write_bytes(b"0")
    backend.wait_until_equal()
    before, began = sent(backend), time.monotonic()
    for number in range(1000):
        path.write_bytes(b"%d" % number)
    seconds = time.monotonic() - began
    backend.wait_until_equal()
    # The cooldown here is a tenth of the usual, and doubles.
    assert all(changes <= 6 + seconds / 0.8 for changes, _ in spent(backend, before))


def test_saving_by_renaming_keeps_the_other_name_away(backend):
    path = backend.source / "page"
    for turn in range(50):
        draft = backend.source / ".page.swp"
        draft.write_bytes(b"%d" % turn * 1000)
        draft.rename(path)
    backend.wait_until_equal()
    assert [p.name for p in backend.site("one").iterdir()] == ["page"]


def test_what_is_written_through_a_mapping_arrives_once_the_file_is_closed(backend):
    path = backend.source / "mapped"
    path.write_bytes(bytes(100_000))
    backend.wait_until_equal()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[:6] = b"mapped"
        mapping.flush()
    backend.wait_until_equal()
    assert (backend.site("one") / "mapped").read_bytes()[:6] == b"mapped"


def test_content_of_the_same_size_and_time_is_noticed(backend):
    path = backend.source / "sly"
    path.write_bytes(b"a" * 100_000)
    backend.wait_until_equal()
    for letter in b"bcd":
        before = path.stat()
        path.write_bytes(bytes([letter]) * 100_000)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        upload(backend, "other")
        backend.wait_until_equal()
    assert hashlib.sha256(path.read_bytes()).digest() == catalog_of(backend)[b"sly"].entry.digest


def test_open_for_writing_and_close_without_is_nothing(backend):
    path = backend.source / "file"
    path.write_bytes(os.urandom(200_000))
    backend.wait_until_equal()
    before = sent(backend)
    for _ in range(20):
        os.close(os.open(path, os.O_RDWR))
    upload(backend, "other")
    backend.wait_until_equal()
    assert all(changes == 1 for changes, _ in spent(backend, before))


def linked(path):
    """As git does: complete under another name, which goes."""
    draft = path.with_name("draft")
    draft.write_bytes(b"d")
    os.link(draft, path)
    draft.unlink()


def truncated(path):
    os.truncate(path, 1)


@pytest.mark.parametrize("make", [linked, truncated])
def test_what_is_complete_without_an_event_of_its_close_does_not_wait_for_one(tmp_path, make):
    path = tmp_path / "source" / "file"
    if make is truncated:
        path.parent.mkdir()
        path.write_bytes(b"12345")
    with Backend(tmp_path, settle={"cooldown": 0.05, "max_wait": 3600.0}) as backend:
        backend.wait_until_equal()
        make(path)
        backend.wait_until_equal()
        assert (backend.site("one") / "file").stat().st_size == 1


def test_a_file_that_always_changes_is_reported_and_arrives_once_it_is_stable(backend, monkeypatch):
    from replicator.source.snapshot import Reader

    monkeypatch.setattr(Reader, "_attempt", lambda *_, **__: None)
    path = backend.source / "database"
    path.write_bytes(b"never twice the same")
    with path.open("r+b") as file:
        file.write(b"open")
        file.flush()
        wait_for(lambda: backend.status()["trees"][0]["unreadable"] == ["database"], backend.status)
        assert not backend.status()["ok"]
    monkeypatch.undo()
    path.write_bytes(b"at rest")
    backend.wait_until_equal()
    assert backend.status()["trees"][0]["unreadable"] == []


def test_a_change_through_a_hard_link_that_is_gone_before_its_check_is_found_by_verify(backend):
    """No event names the file, and the name that changed it does not lead to it any more."""
    one, other, link = (backend.source / name for name in ("file", "other", "link"))
    one.write_text("old")
    other.write_text("other")
    backend.wait_until_equal()
    wait_for(lambda: catalog_of(backend)[b"file"].stable, "a stable record")
    link.hardlink_to(one)
    link.write_text("new")
    other.rename(link)
    backend.ask(command="verify", repair=False)
    wait_for(lambda: (backend.site("one") / "file").read_text() == "new", backend.status)
