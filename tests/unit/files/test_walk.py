"""A walk returns all entries, and reports the directories that it could not read."""

import os
from contextlib import contextmanager

import pytest

from replicator.files.confined import Confined
from replicator.files.walk import Met, walk
from replicator.model import DIRECTORY, FILE, MAX_DEPTH, SYMLINK, Unlisted, check_path
from tests.support.descriptors import files_open

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
def tree(tmp_path):
    tmp_path.chmod(0o755)
    before = files_open()
    opened = Confined.open(os.fsencode(tmp_path))
    yield opened
    opened.close()
    assert files_open() == before


def found(tree, below=b"", **more):
    return [
        (met.path, met.entry.kind if isinstance(met, Met) else met.reason)
        for met in walk(tree, below, **more)
    ]


def test_every_kind(tmp_path, tree):
    (tmp_path / "d").mkdir(0o750)
    (tmp_path / "d" / "f").write_bytes(b"12345")
    (tmp_path / "d" / "f").chmod(0o4640)
    os.utime(tmp_path / "d" / "f", ns=(1, 1_234_567_890_123_456_789))
    (tmp_path / "l").symlink_to("/etc/shadow")
    (tmp_path / "to-directory").symlink_to("d")
    met = {m.path: m.entry for m in walk(tree, b"")}
    assert sorted(met) == [b"d", b"d/f", b"l", b"to-directory"]
    assert met[b"d/f"] == (FILE, 0o4640, 5, 1_234_567_890_123_456_789, b"", b"")
    assert met[b"d"][:3] == (DIRECTORY, 0o750, 0)
    assert (met[b"l"].kind, met[b"l"].mode, met[b"l"].link) == (SYMLINK, 0, b"/etc/shadow")


def test_specials_and_temporaries_are_reported_and_left_out(tmp_path, tree):
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "fifo")
    (tmp_path / "d" / ".replicator-7-1.tmp").touch()
    (tmp_path / "d" / ".replicator-notes").touch()
    specials, temporaries = [], []
    paths = found(
        tree,
        special=specials.append,
        temporary=lambda fd, name: temporaries.append((os.fstat(fd).st_ino, name)),
    )
    assert paths == [(b"d", DIRECTORY), (b"d/.replicator-notes", FILE)]
    assert specials == [b"d/fifo"]
    assert temporaries == [((tmp_path / "d").stat().st_ino, b".replicator-7-1.tmp")]
    assert len(found(tree)) == 2


def test_what_is_pruned_is_not_entered(tmp_path, tree):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    asked = []

    def prune(path, kind):
        asked.append((path, kind))
        return path == b"a"

    assert found(tree, prune=prune) == [(b"c", DIRECTORY)]
    assert asked == [(b"a", DIRECTORY), (b"c", DIRECTORY)]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o311])
def test_a_directory_without_permission_is_reported_and_the_walk_continues(tmp_path, tree, mode):
    """0444 may be read but not entered: its names can be listed, but not stated."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
    (tmp_path / "b").chmod(mode)
    if not os.geteuid():
        os.chown(tmp_path / "a", NOBODY, -1)
    with nobody():
        paths = found(tree)
    (tmp_path / "b").chmod(0o755)
    assert paths == [
        (b"a", DIRECTORY), (b"a/f", FILE),
        (b"b", DIRECTORY), (b"b", "Permission denied"),
        (b"c", DIRECTORY), (b"c/f", FILE),
    ]  # fmt: skip


def test_the_directory_itself_may_be_forbidden_or_gone_or_no_directory(tmp_path, tree):
    (tmp_path / "d").mkdir(0o000)
    (tmp_path / "f").touch()
    (tmp_path / "l").symlink_to("/")
    with nobody():
        assert found(tree, b"d") == [(b"d", "Permission denied")]
    (tmp_path / "d").chmod(0o755)
    assert found(tree, b"none") == []
    assert found(tree, b"f") == [(b"f", "Not a directory")]
    assert found(tree, b"l") == [(b"l", "Not a directory")]


def test_a_name_that_cannot_be_stated_is_reported(tmp_path, tree, monkeypatch):
    """As root meets another user's FUSE mount: EACCES for one name, and nothing wrong with its neighbours."""
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    real = os.stat

    def stat(name, **more):
        if name == b"b":
            raise PermissionError(13, "Permission denied")
        return real(name, **more)

    monkeypatch.setattr(os, "stat", stat)
    assert found(tree) == [(b"a", FILE), (b"b", "Permission denied"), (b"c", FILE)]


def test_what_vanishes_meanwhile_is_no_error(tmp_path, tree):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
    paths = []
    for met in walk(tree, b""):
        paths.append(met.path)
        if met.path == b"a/f":
            (tmp_path / "b" / "f").unlink()
            (tmp_path / "b").rmdir()
        if met.path == b"c":
            (tmp_path / "c").rename(tmp_path / "d")
    assert paths == [b"a", b"a/f", b"c"]


def test_a_directory_swapped_for_a_symlink_is_not_followed(tmp_path, tree):
    (tmp_path / "a").mkdir()
    paths = []
    for met in walk(tree, b""):
        paths.append((met.path, isinstance(met, Unlisted)))
        if isinstance(met, Met):
            (tmp_path / "a").rmdir()
            (tmp_path / "a").symlink_to("/etc")
    assert paths == [(b"a", False), (b"a", True)]


@pytest.mark.parametrize("start", [0, 100])
def test_depth_is_limited_wherever_the_walk_begins(tmp_path, tree, start):
    path = b""
    os.chdir(tmp_path)
    for _ in range(MAX_DEPTH + 5):
        os.mkdir("d")
        os.chdir("d")
    os.chdir("/")
    path = b"/".join([b"d"] * start)
    met = list(walk(tree, path))
    deepest = b"/".join([b"d"] * MAX_DEPTH)
    assert met[-1] == Unlisted(deepest, "nested too deep")
    assert met[-2].path == check_path(deepest)
    assert len(met) == MAX_DEPTH - start + 1


def test_no_path_is_too_long_for_the_wire(tmp_path, tree):
    os.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("n" * 255)
        os.chdir("n" * 255)
    os.chdir("/")
    met = list(walk(tree, b""))
    assert isinstance(met[-1], Unlisted)
    for one in met:
        check_path(one.path)


def test_two_walks_at_once_do_not_disturb_each_other(tmp_path, tree):
    """A duplicated descriptor would share its position in the directory with every other walk."""
    for i in range(50):
        (tmp_path / f"{i:03}").touch()
    os.lseek(tree.root_fd, 1 << 40, os.SEEK_SET)  # as another reader would leave it, half-way
    assert len(found(tree)) == 50


def test_an_abandoned_walk_leaves_no_descriptor(tmp_path, tree):
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = files_open()
    walking = walk(tree, b"")
    next(walking)
    next(walking)
    assert files_open() > before
    walking.close()
    assert files_open() == before
