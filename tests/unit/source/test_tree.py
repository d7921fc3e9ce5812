"""The current state of the source: nothing outside it, nothing that was deleted, and in doubt after an error."""

import os
import shutil
import socket
import threading
from contextlib import contextmanager

import pytest

from replicator.core.filters import Filter
from replicator.errors import SourceError
from replicator.files.confined import Confined
from replicator.model import DIRECTORY, FILE, SYMLINK, Unlisted
from replicator.ports import Seen, Verdict
from replicator.source.left_out import MAX_SPECIALS
from replicator.source.tree import SourceTree
from tests.support.descriptors import files_open
from tests.support.tools import missing

NOBODY = 65534


@contextmanager
def nobody():
    """Run as an unprivileged user."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    yield place
    for directory in (place, place / "d"):  # or nobody but root could clear up
        if directory.is_dir() and not directory.is_symlink():
            directory.chmod(0o755)


@pytest.fixture
def source(root):
    before = files_open()
    opened = SourceTree(os.fsencode(root), filter=Filter(["cache/", "*.tmp"]), multiplier=12345)
    yield opened
    opened.close()
    assert files_open() == before


def open_tree(path):
    return SourceTree(os.fsencode(path), filter=Filter([]), multiplier=1)


def test_a_root_must_be_a_directory_that_can_be_read(root):
    with pytest.raises(SourceError, match="is missing"):
        open_tree(root / "none")
    (root / "f").touch()
    with pytest.raises(SourceError, match="is not a directory"):
        open_tree(root / "f")
    root.chmod(0o444)
    with nobody(), pytest.raises(SourceError, match="cannot be read: Permission denied"):
        open_tree(root)


def test_the_root_is_itself(root, source):
    status = root.stat()
    assert source.check_root() == (status.st_dev, status.st_ino, os.statvfs(root).f_fsid)
    alias = root.parent / "alias"
    alias.symlink_to(root)
    named = open_tree(alias)
    assert named.check_root() == source.check_root()
    named.close()


def test_a_missing_or_replaced_root_is_in_doubt_until_it_is_reopened(root, source):
    former = source.check_root()
    root.rename(root.parent / "away")
    with pytest.raises(SourceError, match=r"is missing.*mounted"):
        source.check_root()
    root.mkdir()
    (root / "new").touch()
    with pytest.raises(SourceError, match="was replaced"):
        source.check_root()
    for _ in range(2):  # before and after it is held: it must be judged first
        with pytest.raises(OSError, match=r"replaced|judged"):
            source.stat(b"new")
        assert [type(found) for found in source.walk(b"")] == [Unlisted]
        assert [seen.path for seen in source.walk(b"", judging=True)] in ([], [b"new"])
        source.reopen()
    assert source.check_root() != former
    source.set_doubt("")
    assert source.stat(b"new") is not None


@pytest.mark.parametrize("missing", [True, False])
def test_a_root_in_doubt_is_not_held_until_it_is_reopened(root, source, missing):
    before = files_open()
    if missing:
        root.rename(root.parent / "away")
        with pytest.raises(SourceError, match="is missing"):
            source.reopen()
        (root.parent / "away").rename(root)
    else:
        source.set_doubt("It was refused.")
    assert files_open() == before - 1
    with pytest.raises(SourceError, match=r"missing|refused"):
        source.duplicate_root()
    assert [type(found) for found in source.walk(b"")] == [Unlisted]
    source.reopen()
    assert source.check_root().inode == root.stat().st_ino
    source.set_doubt("")
    assert list(source.walk(b"")) == []


def test_another_device_in_the_roots_place_is_in_doubt(root, source):
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == root.stat().st_dev:
        missing("a second device at /dev/shm")
    root.rmdir()
    root.symlink_to("/dev/shm")
    with pytest.raises(SourceError, match="another device"):
        source.check_root()


def test_stat_returns_kind_mode_and_size(root, source):
    (root / "f").write_bytes(b"123")
    (root / "d").mkdir()
    (root / "l").symlink_to("/etc/shadow")
    status = (root / "f").stat()
    seen = source.stat(b"f")
    assert seen.entry == (FILE, status.st_mode & 0o7777, 3, status.st_mtime_ns, b"", b"")
    assert seen.stamp == (3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert source.stat(b"d").entry.kind == DIRECTORY
    assert source.stat(b"l").entry == (
        SYMLINK,
        0,
        0,
        (root / "l").lstat().st_mtime_ns,
        b"/etc/shadow",
        b"",
    )


@pytest.mark.parametrize(
    "path",
    [b"none", b"f/x", b"l/passwd", b"loop/x", b"", b"..", b"../root/f", b"/etc/passwd", b"a//b", b"n" * 256,
     b"d/" * 201 + b"f", b"x.tmp", b"cache", b"cache/f", b".replicator-1-2.tmp", b".replicator-1-2.tmp/f", b"fifo", b"sock"],
)  # fmt: skip
def test_stat_returns_nothing_for_paths_that_are_not_replicated(root, source, path):
    (root / "f").touch()
    (root / "x.tmp").touch()
    (root / "cache").mkdir()
    (root / "cache" / "f").touch()
    (root / ".replicator-1-2.tmp").mkdir()
    (root / ".replicator-1-2.tmp" / "f").touch()
    (root / "l").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    os.chdir(root)  # a socket's address has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        os.chdir("/")
        assert source.stat(path) is None


def test_stat_does_not_use_a_directory_that_was_moved(root, source):
    (root / "a").mkdir()
    (root / "a" / "f").touch()
    assert source.stat(b"a/f")
    (root / "a").rename(root / "b")
    assert source.stat(b"a/f") is None
    assert source.stat(b"b/f")


def test_a_parent_without_permission_is_in_doubt_not_gone(root, source):
    (root / "d").mkdir()
    (root / "d" / "f").touch()
    (root / "d").chmod(0)
    with nobody():
        assert source.stat(b"d").entry.kind == DIRECTORY
        with pytest.raises(PermissionError):
            source.stat(b"d/f")


def test_a_symlink_is_replaced_while_it_is_stated(root, source, monkeypatch):
    (root / "l").symlink_to("x")
    real = os.readlink

    def readlink(name, **more):
        (root / "l").unlink()
        (root / "l").write_bytes(b"1")
        return real(name, **more)

    monkeypatch.setattr(os, "readlink", readlink)
    assert source.stat(b"l").entry.kind == FILE


def test_an_io_error_puts_the_source_in_doubt(source, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Confined, "lstat", fail)
    with pytest.raises(OSError, match="Input/output"):
        source.stat(b"f")


def test_specials_are_reported_once_and_their_list_is_bounded(root, source):
    reported = []
    source.left_out.on_special = reported.append
    (root / "cache").mkdir()
    for name in ("one", "two", "excluded.tmp", "cache/in"):
        os.mkfifo(root / name)
    for _ in range(3):
        assert [s.path for s in source.walk(b"")] == []
        source.stat(b"one")
        source.stat(b"excluded.tmp")
    assert reported == [b"one", b"two"]
    source.left_out._reported = {b"%d" % i for i in range(MAX_SPECIALS)}
    os.mkfifo(root / "three")
    assert source.stat(b"three") is None
    assert reported == [b"one", b"two"]


def test_what_is_left_out_has_a_reason(root, tmp_path):
    os.mkfifo(root / "pipe")
    (root / "f").write_text("content")
    (root / "cache").mkdir()
    (root / "out").symlink_to("/etc")
    (root / "in").symlink_to("f")
    source = SourceTree(
        os.fsencode(root), filter=Filter(["cache/"]), multiplier=1, symlinks="inside"
    )
    try:
        names = (b"pipe", b"cache", b"out", b"in", b"f", b"absent", b"f/below", b"in/below")
        assert {name: why for name in names if (why := source.why_left_out(name))} == {
            b"pipe": "is a special file",
            b"cache": "is excluded",
            b"out": "is a symlink that tree.symlinks leaves out",
        }
        assert source.why_left_out(b"d/.replicator-1.tmp/f") == "has a name that is left out"
    finally:
        source.close()


def test_walk_agrees_with_stat_and_leaves_out_excluded_paths(root, source):
    (root / "d" / "cache").mkdir(parents=True)
    (root / "d" / "cache" / "x").touch()
    (root / "d" / "f").write_bytes(b"1")
    (root / "d.tmp").touch()
    (root / "l").symlink_to("d")
    met = list(source.walk(b""))
    assert [seen.path for seen in met] == [b"d", b"d/f", b"l"]
    assert met == [source.stat(seen.path) for seen in met]
    assert [s.path for s in source.walk(b"d")] == [b"d/f"]
    assert list(source.walk(b"d/cache")) == []
    assert list(source.walk(b"..")) == []
    assert list(source.walk(b"none")) == []


def test_walk_reports_directories_that_it_may_not_read(root, source):
    (root / "d").mkdir(0)
    with nobody():
        met = list(source.walk(b""))
    assert isinstance(met[0], Seen)
    assert met[1] == Unlisted(b"d", "Permission denied")


def test_excluded(source):
    assert source.excluded(b"cache", DIRECTORY)
    assert not source.excluded(b"cache", FILE)


def test_read_returns_the_version_asked_for_or_nothing(root, source):
    (root / "f").write_bytes(b"0123456789")
    stamp = source.stat(b"f").stamp
    assert source.read(b"f", stamp, 0, 10) == b"0123456789"
    assert source.read(b"f", stamp, 4, 3) == b"456"
    assert source.read(b"f", stamp, 8, 3) is None
    assert source.read(b"none", stamp, 0, 1) is None
    assert source.read(b"..", stamp, 0, 1) is None
    (root / "f").write_bytes(b"9876543210")
    os.utime(root / "f", ns=(stamp.mtime_ns, stamp.mtime_ns - 1))
    assert source.read(b"f", stamp, 0, 10) is None
    assert source.bytes_read == 10 + 3 + 2 + 10


def test_read_of_what_became_a_symlink_or_unreadable(root, source):
    (root / "f").write_bytes(b"1")
    stamp = source.stat(b"f").stamp
    (root / "f").chmod(0)
    with nobody():
        assert source.read(b"f", stamp, 0, 1) is None
    (root / "f").unlink()
    (root / "f").symlink_to("/etc/shadow")
    assert source.read(b"f", stamp, 0, 1) is None


def test_nothing_outside_is_ever_opened(root, source, monkeypatch):
    """Every file opened below the root, by every call, is opened relative to a descriptor and without following."""
    (root.parent / "secret").write_bytes(b"secret")
    (root / "l").symlink_to("../secret")
    (root / "d").symlink_to("..")
    opened = []
    real = os.open

    def spy(path, flags, *rest, **more):
        opened.append((path, flags, more))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", spy)
    stamp = source.stat(b"l").stamp
    for path in (b"l", b"d/secret", b"d/root/l", b"../secret"):
        assert source.snapshot(path, None).verdict is Verdict.GONE
        assert source.read(path, stamp, 0, 6) is None
        list(source.walk(path))
    assert {seen.path for seen in source.walk(b"")} == {b"l", b"d"}
    assert opened
    for path, flags, more in opened:
        assert b"/" not in path
        assert "dir_fd" in more
        assert flags & os.O_NOFOLLOW


def test_many_threads_and_a_reopening(root, source):
    for i in range(20):
        (root / f"{i}").write_bytes(b"%d" % i)
    failures = []

    def work():
        try:
            for i in range(20):
                seen = source.stat(b"%d" % i)
                assert source.read(seen.path, seen.stamp, 0, seen.entry.size) == b"%d" % i
                assert source.snapshot(seen.path, None).verdict is Verdict.READ
                assert len(list(source.walk(b""))) == 20
        except Exception as error:  # noqa: BLE001  # asserted below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        source.reopen()
        source.check_root()
    for thread in threads:
        thread.join()
    assert failures == []
    assert source.files_hashed == 80


def test_an_emptied_root_walks_empty(root, source):
    (root / "f").touch()
    shutil.rmtree(root)
    root.mkdir()
    assert list(source.walk(b"")) == []
    with pytest.raises(SourceError):
        source.check_root()
