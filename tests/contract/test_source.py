"""Contract of ports.Source: SourceTree on a real directory and FakeSource pass the same tests."""

import errno
import os
from contextlib import contextmanager

import pytest

from replicator.core.filters import Filter
from replicator.delta.ops import Copy
from replicator.errors import SourceError
from replicator.model import DIRECTORY, FILE, ROOT, SYMLINK, TEMPORARY_PREFIX, Unlisted, join
from replicator.ports import Identity, Seen, Verdict
from replicator.source.tree import SourceTree
from tests.support.fakes.content import digest
from tests.support.fakes.source import FakeSource

EXCLUDES = Filter(["cache/", "*.tmp"])
NOBODY = 65534
LARGE = os.urandom(256 << 10)
"""Larger than the files that get no signature."""


class OnDisk:
    """A SourceTree on a real directory, and the changes that tests make there."""

    def __init__(self, directory):
        self.root = directory / "root"
        self.root.mkdir()
        self.source = SourceTree(os.fsencode(self.root), filter=EXCLUDES, multiplier=12345)
        self._writers = []

    def at(self, path):
        return self.root / os.fsdecode(path)

    def write(self, path, content):
        """Replace a file by a new one."""
        new = self.root.parent / "new"
        new.write_bytes(content)
        new.chmod(0o644)
        new.rename(self.at(path))

    def rewrite(self, path, content):
        self.at(path).write_bytes(content)

    def hard_link(self, path, name):
        self.at(name).hardlink_to(self.at(path))

    def mkdir(self, path):
        self.at(path).mkdir()

    def symlink(self, path, link):
        self.at(path).symlink_to(os.fsdecode(link))

    def remove(self, path):
        self.at(path).unlink()

    def vanish(self):
        self.root.rename(self.root.parent / "away")

    def come_back(self):
        (self.root.parent / "away").rename(self.root)

    def replace_root(self):
        self.vanish()
        self.root.mkdir()

    def begin_writing(self, path):
        self._writers.append(self.at(path).open("r+b"))

    @contextmanager
    def denied(self, directory, file):
        """Deny access to a directory and the file in it, also if the tests are run by root."""
        assert self.at(file).parent == self.at(directory)
        self.at(directory).chmod(0)
        is_root = not os.geteuid()
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)
            self.at(directory).chmod(0o755)

    def close(self):
        for writer in self._writers:
            writer.close()
        self.source.close()


class InMemory:
    """A FakeSource, with the same changes."""

    def __init__(self, _directory):
        self.source = FakeSource()
        self.source.is_excluded = EXCLUDES.excluded
        self.write, self.rewrite = self.source.write, self.source.rewrite
        self.hard_link, self.mkdir = self.source.hard_link, self.source.mkdir
        self.symlink, self.remove = self.source.symlink, self.source.remove

    def vanish(self):
        self.source.away = "The source is missing."

    def come_back(self):
        self.source.away = ""

    def replace_root(self):
        self.source.identity = Identity(1, 3)
        self.source.nodes.clear()

    def begin_writing(self, path):
        self.source.verdicts[path] = Verdict.BUSY

    @contextmanager
    def denied(self, directory, file):
        reason = os.strerror(errno.EACCES)
        self.source.denied[file] = errno.EACCES
        self.source.unlisted[directory] = self.source.unreadable[file] = reason
        yield
        self.source.denied.clear()
        self.source.unlisted.clear()
        self.source.unreadable.clear()

    def close(self):
        self.source.close()


@pytest.fixture(params=[OnDisk, InMemory], ids=lambda made: made.__name__)
def world(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def source(world):
    return world.source


def paths(found):
    return [one.path for one in found if isinstance(one, Seen)]


def unlisted(found):
    return [one for one in found if isinstance(one, Unlisted)]


def applied(snapshot, base=b""):
    """Return the content that the snapshot's operations make of `base`."""
    return b"".join(
        base[op.offset : op.offset + op.length] if isinstance(op, Copy) else bytes(op.data)
        for op in snapshot.ops
    )


def test_stat_and_walk_return_the_same_entries_in_key_order(world, source):
    for directory in (b"a", b"a/b"):
        world.mkdir(directory)
    for path in (b"a.x", b"a/b/\xff", b"a-b"):
        world.write(path, b"content")
    world.symlink(b"a/link", b"../a.x")
    walked = list(source.walk(ROOT))
    assert paths(walked) == [b"a", b"a/b", b"a/b/\xff", b"a/link", b"a-b", b"a.x"]
    assert walked == [source.stat(path) for path in paths(walked)]
    assert paths(source.walk(b"a")) == [b"a/b", b"a/b/\xff", b"a/link"]

    kinds = {seen.path: (seen.entry.kind, seen.entry.size, seen.entry.link) for seen in walked}
    assert kinds[b"a"] == (DIRECTORY, 0, b"")
    assert kinds[b"a/b/\xff"] == (FILE, 7, b"")
    assert kinds[b"a/link"] == (SYMLINK, 0, b"../a.x")
    file = source.stat(b"a/b/\xff")
    assert (file.entry.mode, file.entry.digest) == (0o644, b"")
    assert (file.stamp.size, file.stamp.mtime_ns) == (7, file.entry.mtime_ns)


def test_excluded_paths_and_temporary_files_of_agents_are_not_found(world, source):
    temporary = TEMPORARY_PREFIX + b"1-1.tmp"
    world.mkdir(b"cache")
    for path in (b"cache/f", b"f.tmp", temporary, b"f"):
        world.write(path, b"content")
    assert paths(source.walk(ROOT)) == [b"f"]
    for path in (b"cache", b"f.tmp", temporary, b"d/" + temporary):
        assert source.stat(path) is None
    assert source.excluded(b"cache", DIRECTORY)
    assert not source.excluded(b"cache", FILE)


@pytest.mark.parametrize("path", [b"none", b"none/below", b"file/below", b"../root", b"/file", b"a//b", b"file\0"])  # fmt: skip
def test_nothing_is_found_at_a_path_that_does_not_exist_or_is_not_valid(world, source, path):
    world.write(b"file", b"content")
    stamp = source.stat(b"file").stamp
    assert source.stat(path) is None
    assert source.snapshot(path, None).verdict is Verdict.GONE
    assert source.read(path, stamp, 0, 1) is None
    assert source.read_whole([(path, stamp)]) == [None]
    assert paths(source.walk(path)) == []


def test_a_file_is_not_a_directory_and_a_directory_has_no_content(world, source):
    world.write(b"file", b"content")
    world.mkdir(b"d")
    assert list(source.walk(b"file")) == [Unlisted(b"file", os.strerror(errno.ENOTDIR))]
    assert list(source.walk(b"gone")) == []
    assert source.snapshot(b"d", None).verdict is Verdict.GONE


def test_hard_links_share_their_inode_and_are_counted(world, source):
    world.write(b"a", b"content")
    alone = source.stat(b"a")
    world.hard_link(b"a", b"b")
    one, other = source.stat(b"a"), source.stat(b"b")
    assert (alone.links, one.links, other.links) == (1, 2, 2)
    assert one.stamp == other.stamp
    assert one.stamp.inode == alone.stamp.inode
    world.rewrite(b"b", b"other content")
    assert source.stat(b"a").stamp == source.stat(b"b").stamp != one.stamp


def test_a_snapshot_holds_one_version_with_its_digest(world, source):
    world.write(b"file", b"content")
    seen, taken = source.stat(b"file"), source.snapshot(b"file", None)
    assert taken.verdict is Verdict.READ
    assert taken.entry == seen.entry._replace(digest=digest(b"content"))
    assert taken.stamp == seen.stamp
    assert applied(taken) == b"content"
    assert not taken.is_delta
    assert (taken.signature, taken.problem) == (None, "")
    assert (source.files_hashed, source.bytes_read) == (1, 7)


def test_a_snapshot_with_a_base_is_a_delta(world, source):
    world.write(b"file", LARGE)
    base = source.snapshot(b"file", None)
    assert base.signature
    world.write(b"file", LARGE + b"more")
    taken = source.snapshot(b"file", base.signature)
    assert taken.is_delta
    assert applied(taken, LARGE) == LARGE + b"more"
    assert taken.entry.digest == digest(LARGE + b"more")
    assert taken.signature not in (None, base.signature)


def test_a_file_that_is_open_for_writing_is_busy_unless_forced(world, source):
    world.write(b"file", b"content")
    world.begin_writing(b"file")
    assert source.snapshot(b"file", None).verdict is Verdict.BUSY
    assert source.snapshot(b"file", None, force=True).verdict is Verdict.READ


def test_a_read_returns_bytes_of_the_wanted_version_only(world, source):
    world.write(b"file", b"content")
    stamp = source.stat(b"file").stamp
    assert source.read(b"file", stamp, 2, 3) == b"nte"
    assert source.read(b"file", stamp, 2, 99) is None
    assert source.read_whole([(b"file", stamp), (b"none", stamp)]) == [b"content", None]
    world.write(b"file", b"other content")
    assert source.read(b"file", stamp, 2, 3) is None
    assert source.read_whole([(b"file", stamp)]) == [None]


def test_what_must_not_be_read_is_an_error_and_not_absent(world, source):
    world.mkdir(b"d")
    world.write(b"d/f", b"content")
    world.write(b"e", b"content")
    stamp = source.stat(b"d/f").stamp
    with world.denied(b"d", b"d/f"):
        with pytest.raises(PermissionError):
            source.stat(b"d/f")
        with pytest.raises(PermissionError):
            source.why_left_out(b"d/f")
        taken = source.snapshot(b"d/f", None)
        assert (taken.verdict, taken.problem) == (Verdict.FAILED, "Permission denied")
        assert source.read(b"d/f", stamp, 0, 7) is None
        found = list(source.walk(ROOT))
        assert paths(found) == [b"d", b"e"]
        assert unlisted(found) == [Unlisted(b"d", "Permission denied")]
    assert paths(source.walk(ROOT)) == [b"d", b"d/f", b"e"]
    assert [source.why_left_out(path) for path in (b"d/f", b"d", b"absent")] == [""] * 3


def check_that_nothing_is_read(source, path, stamp):
    with pytest.raises(OSError, match="not the right one") as caught:
        source.stat(path)
    assert caught.value.errno == errno.ENODEV
    taken = source.snapshot(path, None)
    assert (taken.verdict, taken.problem) == (Verdict.FAILED, "not the right one")
    assert source.read(path, stamp, 0, 7) is None
    assert source.read_whole([(path, stamp)]) == [None]
    assert source.doubt(path) == "not the right one"


def test_nothing_of_an_untrusted_root_is_read_until_it_is_reopened_and_trusted(world, source):
    world.write(b"file", b"content")
    identity, stamp = source.check_root(), source.stat(b"file").stamp
    source.set_doubt("not the right one")
    check_that_nothing_is_read(source, b"file", stamp)
    assert list(source.walk(ROOT)) == [Unlisted(ROOT, "not the right one")]
    for use in (source.check_root, source.mounts, source.duplicate_root):
        with pytest.raises(SourceError):
            use()
    source.reopen()
    assert source.doubt(b"file")
    assert list(source.walk(ROOT)) == [Unlisted(ROOT, source.doubt(ROOT))]
    assert paths(source.walk(ROOT, judging=True)) == [b"file"]
    assert source.check_root() == identity
    source.set_doubt("")
    assert source.doubt(b"file") == ""
    assert paths(source.walk(ROOT)) == [b"file"]


def test_nothing_at_and_below_an_untrusted_mount_is_read(world, source):
    world.mkdir(b"mount")
    for path in (b"mount/file", b"mount.x"):
        world.write(path, b"content")
    stamp = source.stat(b"mount/file").stamp
    source.set_mounts({}, {b"mount": "not the right one"})
    check_that_nothing_is_read(source, b"mount/file", stamp)
    for below in (b"mount", b"mount/below"):
        assert list(source.walk(below)) == [Unlisted(below, "not the right one")]
    for judging in (False, True):
        found = list(source.walk(ROOT, judging=judging))
        assert paths(found) == [b"mount.x"]
        assert unlisted(found) == [Unlisted(b"mount", "not the right one")]
    source.set_mounts({}, {})
    assert paths(source.walk(ROOT)) == [b"mount", b"mount/file", b"mount.x"]
    assert source.mounts() == {}


def test_a_missing_root_is_untrusted_until_it_is_back_and_trusted(world, source):
    world.write(b"file", b"content")
    world.vanish()
    for use in (source.check_root, source.reopen):
        with pytest.raises(SourceError, match="is missing"):
            use()
    assert "is missing" in source.doubt(b"file")
    with pytest.raises(OSError, match="is missing"):
        source.stat(b"file")
    world.come_back()
    with pytest.raises(SourceError):
        source.check_root()
    source.reopen()
    source.set_doubt("")
    assert source.stat(b"file") is not None


def test_another_directory_at_the_roots_path_is_untrusted_until_it_is_trusted(world, source):
    world.write(b"file", b"content")
    former = source.check_root()
    world.replace_root()
    with pytest.raises(SourceError, match="was replaced"):
        source.check_root()
    with pytest.raises(OSError, match="was replaced"):
        source.stat(b"file")
    source.reopen()
    assert "is being compared" in source.doubt(ROOT)
    assert source.check_root() != former
    source.set_doubt("")
    assert source.stat(b"file") is None


def test_reopening_the_same_directory_keeps_it_trusted(world, source):
    world.write(b"file", b"content")
    source.reopen()
    assert paths(source.walk(ROOT)) == [b"file"]


def test_a_duplicate_of_the_root_belongs_to_the_caller(source):
    duplicate = source.duplicate_root()
    source.set_doubt("not the right one")
    os.close(duplicate)


def test_after_stop_walks_and_snapshots_raise_source_error(world, source):
    for number in range(3):
        world.write(b"%d" % number, b"content")
    stamp = source.stat(b"0").stamp
    walk = source.walk(ROOT)
    next(walk)
    source.stop()
    uses = lambda: list(walk), lambda: list(source.walk(ROOT)), lambda: source.snapshot(b"0", None)  # fmt: skip
    for use in uses:
        with pytest.raises(SourceError):
            use()
    source.close()
    source.close()
    assert source.read(b"0", stamp, 0, 7) is None
    uses = *uses[1:], lambda: source.stat(b"0"), source.duplicate_root, source.reopen, source.check_root  # fmt: skip
    for use in uses:
        with pytest.raises(SourceError):
            use()


def test_what_changes_during_a_walk_is_found_or_not_but_breaks_nothing(world, source):
    world.mkdir(b"a")
    for path in (b"a/f", b"b", b"c"):
        world.write(path, b"content")
    walk = source.walk(ROOT)
    assert next(walk).path == b"a"
    world.remove(b"b")
    world.write(join(b"a", b"new"), b"content")
    found = paths(walk)
    assert b"b" not in found
    assert found[-1] == b"c"
