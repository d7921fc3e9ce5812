"""One pass, one version: never torn, never while the file is being written, never more in memory than allowed."""

import fcntl
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from replicator.core.filters import Filter
from replicator.delta.ops import Copy, Literal, literal_bytes
from replicator.delta.patch import replay
from replicator.delta.signature import Signature
from replicator.model import FILE, Stamp
from replicator.ports import Verdict
from replicator.source import snapshot as module
from replicator.source.snapshot import ATTEMPTS, MEMORY_LIMIT, SMALL
from replicator.source.tree import SourceTree
from tests.support.descriptors import files_open
from tests.support.tools import missing
from tests.support.waiting import wait_for

NOBODY = 65534
OLD = 1_600_000_000_123_456_789
MiB = 1 << 20


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def source(root):
    before = files_open()
    opened = SourceTree(os.fsencode(root), filter=Filter([]), multiplier=0x12345679)
    yield opened
    opened.close()
    assert files_open() == before


@pytest.fixture
def at_pread(monkeypatch):
    """Let a test do something right after the n-th reading from a file."""
    actions = {}
    real = os.pread
    count = 0

    def pread(fd, size, offset):
        nonlocal count
        data = real(fd, size, offset)
        count += 1
        actions.get(count, actions.get("always", lambda: None))()
        return data

    monkeypatch.setattr(os, "pread", pread)
    return actions


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def content_of(snapshot, base=b""):
    read = lambda offset, length: base[offset : offset + length]
    return b"".join(replay(snapshot.ops, read, base_size=len(base), max_size=snapshot.entry.size))


def signature_of(content, source, root):
    (root / "old version").write_bytes(content)
    packed = source.snapshot(b"old version", None).signature
    source.bytes_read = source.files_hashed = 0
    return packed


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, MiB, MiB + 1, MEMORY_LIMIT])
def test_a_whole_file(root, source, size):
    data = noise(size)
    (root / "f").write_bytes(data)
    (root / "f").chmod(0o4640)
    status = (root / "f").stat()
    taken = source.snapshot(b"f", None)
    assert taken.verdict is Verdict.READ
    assert taken.entry == (
        FILE,
        0o4640,
        size,
        status.st_mtime_ns,
        b"",
        hashlib.sha256(data).digest(),
    )
    assert taken.stamp == source.stat(b"f").stamp
    assert content_of(taken) == data
    assert not taken.is_delta
    assert (taken.signature is None) == (size < SMALL)
    if taken.signature:
        assert Signature.unpack(taken.signature).size == size
        assert Signature.unpack(taken.signature).multiplier == 0x12345679
    assert (source.bytes_read, source.files_hashed) == (size, 1)


def test_content_beyond_the_memory_limit_is_left_in_the_source(root, source):
    data = noise(MEMORY_LIMIT + 1)
    (root / "f").write_bytes(data)
    taken = source.snapshot(b"f", None)
    assert taken.ops is None
    assert taken.entry.digest == hashlib.sha256(data).digest()
    assert taken.signature
    assert source.read(b"f", taken.stamp, MEMORY_LIMIT, 1) == data[-1:]


@pytest.mark.parametrize(
    "edit",
    [
        lambda old: old,
        lambda old: old[:MiB] + b"inserted" + old[MiB:],
        lambda old: old[: 3 * MiB] + old[3 * MiB + 5000 :],
        lambda old: old[:777] + b"?" + old[778:],
        lambda old: old + noise(MiB, 2),
        lambda old: old[: 2 * MiB],
        lambda old: old[5 * MiB :] + old[: 5 * MiB],
    ],
)
def test_a_delta_makes_the_new_version_from_the_old(root, source, edit):
    old = noise(8 * MiB)
    base = signature_of(old, source, root)
    new = edit(old)
    (root / "f").write_bytes(new)
    taken = source.snapshot(b"f", base)
    assert taken.is_delta
    assert content_of(taken, old) == new
    assert literal_bytes(taken.ops) < MiB + 3 * 4096
    assert source.bytes_read == len(new)


def test_a_large_insert_is_read_once_and_held_by_nobody(root, source):
    old = noise(8 * MiB)
    base = signature_of(old, source, root)
    new = old[:MiB] + noise(32 * MiB, 2) + old[MiB:]
    (root / "f").write_bytes(new)
    taken = source.snapshot(b"f", base)
    assert taken.verdict is Verdict.READ
    assert (taken.ops, taken.is_delta) == (None, False)
    assert taken.entry.digest == hashlib.sha256(new).digest()
    assert (source.bytes_read, source.files_hashed) == (len(new), 1)


def test_a_delta_that_is_not_worth_it_gives_way_to_the_whole(root, source):
    old = noise(MiB)
    base = signature_of(old, source, root)
    new = noise(800_000, 2) + old[:200_000]
    (root / "f").write_bytes(new)
    taken = source.snapshot(b"f", base)
    assert not taken.is_delta
    assert content_of(taken) == new
    assert not any(isinstance(op, Copy) for op in taken.ops)


@pytest.mark.parametrize("base", [b"", b"nonsense", b"sig1" + b"\xff" * 40])
def test_a_base_that_is_none_is_ignored(root, source, base):
    (root / "f").write_bytes(noise(MiB))
    taken = source.snapshot(b"f", base)
    assert taken.verdict is Verdict.READ
    assert not taken.is_delta


def test_a_file_that_became_small_is_sent_whole(root, source):
    old = noise(MiB)
    base = signature_of(old, source, root)
    (root / "f").write_bytes(old[: SMALL - 1])
    taken = source.snapshot(b"f", base)
    assert (taken.is_delta, taken.signature) == (False, None)
    assert taken.ops == [Literal(old[: SMALL - 1])]


@pytest.mark.parametrize("path", [b"none", b"d", b"l", b"l/x", b"f/x", b"fifo", b"../root/f"])
def test_what_is_no_file_is_gone(root, source, path):
    (root / "f").touch()
    (root / "d").mkdir()
    (root / "l").symlink_to("/etc/shadow")
    os.mkfifo(root / "fifo")
    assert source.snapshot(path, None).verdict is Verdict.GONE
    assert source.files_hashed == 0


def test_what_may_not_be_read_failed(root, source):
    (root / "f").write_bytes(b"1")
    (root / "f").chmod(0)
    if not os.geteuid():
        os.chown(root / "f", 1, -1)
        os.seteuid(NOBODY)
    try:
        taken = source.snapshot(b"f", None)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    assert (taken.verdict, taken.problem) == (Verdict.FAILED, "Permission denied")


def test_a_disk_that_fails(root, source, at_pread):
    def fail():
        raise OSError(5, "Input/output error")

    (root / "f").write_bytes(noise(3 * MiB))
    at_pread[2] = fail
    taken = source.snapshot(b"f", None)
    assert (taken.verdict, taken.problem) == (Verdict.FAILED, "Input/output error")


# What changes while it is read.


times = itertools.count(OLD + 1)


def change_same_size(path, data=b"changed"):
    with path.open("r+b") as file:
        file.write(data)
    instant = next(times)  # two changes in one tick of the kernel's clock would have the same time
    os.utime(path, ns=(instant, instant))


def truncate(path):
    os.truncate(path, 10)


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [change_same_size, truncate, grow, lambda path: path.unlink()])
@pytest.mark.parametrize("when", [1, 3])
def test_a_file_that_changes_while_it_is_read_is_torn(root, source, at_pread, change, when):
    (root / "f").write_bytes(noise(3 * MiB))
    os.utime(root / "f", ns=(OLD, OLD))
    at_pread[when] = lambda: change(root / "f")
    taken = source.snapshot(b"f", None)
    assert taken.verdict is Verdict.TORN
    assert taken.entry is None
    assert source.files_hashed == 0


def test_a_change_with_its_time_restored_is_torn_all_the_same(root, source, at_pread):
    (root / "f").write_bytes(noise(MiB))
    os.utime(root / "f", ns=(OLD, OLD))

    def change():
        change_same_size(root / "f")
        os.utime(root / "f", ns=(OLD, OLD))

    before = (root / "f").stat().st_ctime_ns
    (root / "probe").touch()
    wait_for(
        lambda: os.utime(root / "probe") or (root / "probe").stat().st_ctime_ns > before, "a tick"
    )
    at_pread[1] = change
    assert source.snapshot(b"f", None).verdict is Verdict.TORN


def test_a_read_of_a_changing_file_is_refused(root, source, at_pread):
    (root / "f").write_bytes(b"0123456789")
    os.utime(root / "f", ns=(OLD, OLD))
    stamp = source.stat(b"f").stamp
    at_pread[1] = lambda: change_same_size(root / "f")
    assert source.read(b"f", stamp, 0, 10) is None


# Writers.


def leases_work(root):
    (root / "probe").touch()
    with open(root / "probe", "rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            return False
    return True


@pytest.fixture
def leases(root):
    if not leases_work(root):
        missing("a file system with leases")


def test_an_open_writer_makes_it_busy(leases, root, source):
    (root / "f").write_bytes(b"1")
    with open(root / "f", "ab"):
        assert source.snapshot(b"f", None).verdict is Verdict.BUSY
        assert source.snapshot(b"f", None, force=True).verdict is Verdict.READ
    assert source.snapshot(b"f", None).verdict is Verdict.READ
    assert source.bytes_read == 2


def test_a_writer_in_another_process_makes_it_busy(leases, root, source):
    (root / "f").write_bytes(b"1")
    script = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, root / "f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        assert source.snapshot(b"f", None).verdict is Verdict.BUSY
        writer.communicate()
    assert source.snapshot(b"f", None).verdict is Verdict.READ


def test_a_writer_through_another_name_counts(leases, root, source):
    (root / "f").write_bytes(b"1")
    os.link(root / "f", root / "g")
    with open(root / "g", "ab"):
        assert source.snapshot(b"f", None).verdict is Verdict.BUSY
    one, two = source.snapshot(b"f", None), source.snapshot(b"g", None)
    assert (one.entry, one.stamp) == (two.entry, two.stamp)


def test_a_reader_does_not_count(leases, root, source):
    (root / "f").write_bytes(b"1")
    with open(root / "f", "rb"):
        assert source.snapshot(b"f", None).verdict is Verdict.READ


def test_the_lease_is_given_back(leases, root, source):
    (root / "f").write_bytes(b"1")
    fd = os.open(root / "f", os.O_RDONLY)
    try:
        assert not module.has_writer(fd)
        assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        os.close(os.open(root / "f", os.O_WRONLY | os.O_NONBLOCK))  # would be refused
    finally:
        os.close(fd)


def test_a_broken_lease_does_not_kill(leases, root):
    """A writer that comes while the lease is held: the signal is one that is ignored by default."""
    (root / "f").write_bytes(b"1")
    script = """
import fcntl, os, sys
from replicator.source import snapshot
real = fcntl.fcntl
def slow(fd, command, *rest):
    if command == fcntl.F_SETLEASE and rest == (fcntl.F_UNLCK,):
        try:
            os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
        except BlockingIOError:
            print("broken")
    return real(fd, command, *rest)
fcntl.fcntl = slow
print(snapshot.has_writer(os.open(sys.argv[1], os.O_RDONLY)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, root / "f"], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["broken", "False"]
    assert signal.getsignal(signal.SIGURG) in (signal.SIG_DFL, signal.SIG_IGN)


@pytest.mark.parametrize("number", [13, 22, 95])
def test_where_leases_are_not_to_be_had_the_stamp_decides(root, source, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    (root / "f").write_bytes(b"1")
    assert source.snapshot(b"f", None).verdict is Verdict.READ


# A writer that never lets go.


def test_force_takes_what_stood_still_between_two_readings(root, source, at_pread):
    """A log that grows: the bytes there were when the reading began are one version."""
    data = noise(2 * MiB)
    (root / "f").write_bytes(data)
    os.utime(root / "f", ns=(OLD, OLD))
    before = source.stat(b"f").stamp
    at_pread["always"] = lambda: grow(root / "f")
    taken = source.snapshot(b"f", None, force=True)
    assert taken.verdict is Verdict.READ
    assert (taken.entry.size, taken.entry.mtime_ns) == (len(data), OLD)
    assert taken.entry.digest == hashlib.sha256(data).digest()
    assert content_of(taken) == data
    assert (taken.stable, taken.stamp) == (False, before)
    assert source.stat(b"f").stamp != before
    assert source.bytes_read == 2 * len(data)


def test_a_writer_that_comes_meanwhile_makes_a_young_file_busy(leases, root, source, at_pread):
    """In one tick of the clock the stamp would not betray what it writes."""
    (root / "f").write_bytes(b"1")
    writers = []
    at_pread[1] = lambda: writers.append(os.open(root / "f", os.O_WRONLY))
    taken = source.snapshot(b"f", None)
    os.close(writers[0])
    assert taken.verdict is Verdict.BUSY


def test_force_gives_up_on_what_never_stands_still(root, source, at_pread):
    (root / "f").write_bytes(b"0" * 100)
    written = itertools.count(1)

    def overwrite():
        change_same_size(root / "f", b"%d" % next(written))

    at_pread["always"] = overwrite
    assert source.snapshot(b"f", None, force=True).verdict is Verdict.TORN
    assert source.bytes_read == 2 * ATTEMPTS * 100


def test_force_tries_again(root, source, at_pread):
    (root / "f").write_bytes(noise(3 * MiB))
    at_pread[1] = lambda: change_same_size(root / "f")
    at_pread[4] = lambda: change_same_size(root / "f")
    taken = source.snapshot(b"f", None, force=True)
    assert taken.verdict is Verdict.READ
    assert content_of(taken) == (root / "f").read_bytes()


def test_force_of_a_file_that_shrinks(root, source, at_pread):
    (root / "f").write_bytes(noise(3 * MiB))
    at_pread[1] = lambda: truncate(root / "f")
    taken = source.snapshot(b"f", None, force=True)
    assert taken.entry.size == 10
    assert content_of(taken) == (root / "f").read_bytes()


# Whether a stamp is stable.


@contextmanager
def clock(monkeypatch, now):
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: now)
        yield


@pytest.mark.parametrize(
    ("age_ns", "stable"), [(0, False), (10_000_000, False), (20_000_000, False), (20_000_001, True)]
)
def test_a_stamp_is_firm_once_the_clock_has_moved_on(root, source, monkeypatch, age_ns, stable):
    (root / "f").write_bytes(b"1")
    os.utime(root / "f", ns=(OLD, OLD))  # an old mtime does not help: the ctime is young
    with clock(monkeypatch, (root / "f").stat().st_ctime_ns + age_ns):
        assert source.snapshot(b"f", None).stable is stable


def test_a_file_from_the_future_is_not_firm(root, source, monkeypatch):
    (root / "f").write_bytes(b"1")
    now = time.time_ns()
    os.utime(root / "f", ns=(now + 10**18, now + 10**18))
    with clock(monkeypatch, now + 10**10):
        assert source.snapshot(b"f", None).stable is False


def test_a_stamp_has_what_betrays_a_change(root, source):
    (root / "f").write_bytes(b"123")
    status = (root / "f").stat()
    assert source.snapshot(b"f", None).stamp == Stamp(
        3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    )


def test_a_large_file_is_never_held(root, source):
    """Resident memory stays far below the file's size: nothing keeps the content, and nothing maps it."""
    import tracemalloc

    with open(root / "f", "wb") as file:
        file.truncate(64 * MiB)
    tracemalloc.start()
    try:
        assert source.snapshot(b"f", None).ops is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * MiB
