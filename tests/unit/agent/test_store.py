"""The store: old or new, inside the root, and directories' times stay where the backend put them."""

import contextlib
import hashlib
import os
import stat
import threading

import pytest

from replicator.agent.descriptors import sweep
from replicator.agent.file_writer import Owner
from replicator.agent.refusals import Refused
from replicator.agent.transfer import Transfer
from replicator.files.walk import walk
from replicator.wire import changes
from replicator.wire.changes import (
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)
from tests.support.stores import store_at

TIME = 1_600_000_000_123_456_789


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_text("alive")
    return tmp_path / "root"


@pytest.fixture
def store(root):
    store = store_at(root)
    yield store
    store.tree.close()


def put(store, path, content=b"hello", mode=0o644, time=TIME):
    digest = hashlib.sha256(content).digest()
    store.put(PutFile(1, 1, path, mode, len(content), time, digest), memoryview(content))


def temporaries(root):
    return [
        name for _, _, names in os.walk(root) for name in names if name.startswith(".replicator-")
    ]


def test_a_file_arrives_with_its_content_mode_and_time(store, root):
    put(store, b"f", mode=0o640)
    status = (root / "f").stat()

    assert (root / "f").read_bytes() == b"hello"
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime_ns == TIME
    assert temporaries(root) == []


def test_content_that_is_not_what_was_announced_is_refused_and_the_old_version_stays(store, root):
    put(store, b"f", b"old")
    with pytest.raises(Refused) as refused:
        store.put(PutFile(1, 1, b"f", 0o644, 3, TIME, b"\0" * 32), memoryview(b"new"))

    assert refused.value.reason == changes.DIGEST_MISMATCH
    assert (root / "f").read_bytes() == b"old"
    assert temporaries(root) == []


def test_setid_bits_are_stripped_unless_asked_for(store, root):
    put(store, b"f", mode=0o6755)

    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o755


def test_setid_bits_are_kept_when_asked_for(root):
    store = store_at(root, Owner(os.getuid(), os.getgid()), setid=True)
    put(store, b"f", mode=0o4755)
    store.tree.close()

    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o4755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_all_that_is_created_gets_the_configured_owner(root):
    store = store_at(root, Owner(12345, 12346), setid=True)
    store.make_directory(MakeDirectory(1, 1, b"d", 0o750, TIME))
    put(store, b"d/f", mode=0o4755)
    store.make_symlink(MakeSymlink(1, 1, b"d/l", TIME, b"/etc/passwd"))
    (root / "mine").write_bytes(b"hello")
    digest = hashlib.sha256(b"hello").digest()
    store.set_attributes(SetAttributes(1, 1, b"mine", 0o640, 5, TIME, 0, digest))
    store.settle()
    store.tree.close()

    for path in ("d", "d/f", "d/l", "mine"):
        status = (root / path).lstat()
        assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (12345, 12346, TIME), path
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o4755  # chown would have cleared it
    assert os.stat("/etc/passwd").st_uid == 0


def test_no_other_user_can_read_a_file_before_it_has_its_name(store, root):
    old = os.umask(0)
    try:
        temporary = store.begin(b"f", store.tree.root_fd)
    finally:
        os.umask(old)
    (path,) = root.iterdir()
    assert path.name.startswith(".")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.discard(temporary)


@pytest.mark.parametrize(
    "act",
    [
        lambda s: put(s, b"a/b/f"),
        lambda s: s.make_directory(MakeDirectory(1, 1, b"a/b", 0o755, TIME)),
        lambda s: s.make_symlink(MakeSymlink(1, 1, b"a/l", TIME, b"x")),
        lambda s: s.move(Move(1, 1, b"a/x", b"there")),
        lambda s: s.move(Move(1, 1, b"there", b"a/x")),
        lambda s: Transfer(s, PutFile(1, 1, b"a/b/f", 0o644, 1, TIME, bytes(32)), delta=False),
    ],
)
def test_a_directory_that_was_not_requested_is_not_created(store, root, act):
    put(store, b"there")
    with pytest.raises(Refused) as refused:
        act(store)

    assert refused.value.reason == changes.VANISHED
    assert os.listdir(root) == ["there"]


@pytest.mark.parametrize("before", ["file", "directory", "symlink", "nothing"])
@pytest.mark.parametrize("after", ["file", "directory", "symlink"])
def test_any_kind_turns_into_any_other(store, root, before, after):
    path = root / "p"
    if before == "file":
        path.write_text("x")
    elif before == "directory":
        path.mkdir()
    elif before == "symlink":
        path.symlink_to(root.parent / "outside")
    if after == "file":
        put(store, b"p")
    elif after == "directory":
        store.make_directory(MakeDirectory(1, 1, b"p", 0o750, TIME))
    else:
        store.make_symlink(MakeSymlink(1, 1, b"p", TIME, b"target"))
    store.settle()

    found = path.lstat()
    kinds = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "symlink": stat.S_ISLNK}
    assert kinds[after](found.st_mode)
    assert found.st_mtime_ns == TIME
    assert (root.parent / "outside/canary").read_text() == "alive"


def test_a_directory_with_content_does_not_make_way(store, root):
    (root / "d").mkdir()
    put(store, b"d/f")
    with pytest.raises(OSError, match="not empty"):
        put(store, b"d")

    assert (root / "d/f").exists()
    assert temporaries(root) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda s: put(s, b"link/canary"),
        lambda s: s.delete(Delete(1, 1, b"link/canary")),
        lambda s: s.make_directory(MakeDirectory(1, 1, b"link/d", 0o777, TIME)),
        lambda s: s.make_symlink(MakeSymlink(1, 1, b"link/l", TIME, b"x")),
        lambda s: s.move(Move(1, 1, b"link/canary", b"stolen")),
        lambda s: s.move(Move(1, 1, b"mine", b"link/mine")),
        lambda s: s.set_attributes(SetAttributes(1, 1, b"link/canary", 0o777, 5, TIME, 0, b"")),
        lambda s: s.set_attributes(SetAttributes(1, 1, b"file-link", 0o777, 5, TIME, 0, b"")),
    ],
)
def test_no_change_goes_through_a_symlink(store, root, act):
    outside = root.parent / "outside"
    (root / "link").symlink_to(outside)
    (root / "file-link").symlink_to(outside / "canary")
    (root / "mine").write_text("mine")
    before = [(p.name, p.lstat().st_mode, p.lstat().st_mtime_ns) for p in sorted(outside.iterdir())]
    with contextlib.suppress(OSError, Refused):
        act(store)
    store.settle()

    assert [
        (p.name, p.lstat().st_mode, p.lstat().st_mtime_ns) for p in sorted(outside.iterdir())
    ] == before
    assert (root / "mine").exists()


def test_attributes_change_only_on_the_content_they_belong_to(store, root):
    put(store, b"f", b"hello")
    right = hashlib.sha256(b"hello").digest()

    for change in (
        SetAttributes(1, 1, b"f", 0o600, 5, TIME + 1, TIME - 9, b""),
        SetAttributes(1, 1, b"f", 0o600, 6, TIME + 1, TIME, b""),
        SetAttributes(1, 1, b"f", 0o600, 5, TIME + 1, TIME, b"\0" * 32),
        SetAttributes(1, 1, b"gone", 0o600, 5, TIME + 1, TIME, right),
    ):
        with pytest.raises(Refused) as refused:
            store.set_attributes(change)
        assert refused.value.reason == changes.BASE_MISMATCH

    store.set_attributes(SetAttributes(1, 1, b"f", 0o600, 5, TIME + 1, TIME, b""))
    store.set_attributes(SetAttributes(1, 1, b"f", 0o600, 5, TIME + 2, 0, right))

    assert (root / "f").stat().st_mtime_ns == TIME + 2
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o600


def test_deleting_what_is_not_there_is_done(store):
    store.delete(Delete(1, 1, b"nothing"))
    store.delete(Delete(1, 1, b"no/such/parent"))


def test_a_directory_that_holds_something_is_not_deleted(store, root):
    (root / "d").mkdir()
    put(store, b"d/f")
    with pytest.raises(OSError, match="not empty"):
        store.delete(Delete(1, 1, b"d"))

    assert (root / "d/f").exists()


def test_a_stale_temporary_is_swept_and_one_in_use_is_not(store, root):
    stale = root / ".replicator-dead-1.tmp"
    stale.write_text("left behind")
    (root / ".replicator-dead-2.tmp").symlink_to("nowhere")
    used = store.begin(b"f", store.tree.root_fd)
    before = root.stat().st_mtime_ns
    listed = list(walk(store.tree, b"", temporary=sweep))

    assert root.stat().st_mtime_ns == before
    assert listed == []
    assert not stale.exists()
    assert not (root / ".replicator-dead-2.tmp").is_symlink()
    assert len(temporaries(root)) == 1

    store.discard(used)

    assert temporaries(root) == []


def test_a_reader_sees_only_whole_versions_and_never_a_missing_file(store, root):
    versions = [bytes([i]) * 100_000 for i in range(2)]
    put(store, b"f", versions[0])
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append((root / "f").read_bytes() in versions)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(1000):
            put(store, b"f", versions[turn % 2])
    finally:
        stop.set()
        reader.join()

    assert seen
    assert all(seen)


def test_a_removed_root_is_distinguished_from_a_vanished_file(store, root):
    root.rmdir()

    for path in (b"f", b"a/b/f"):
        with pytest.raises(Refused) as refused:
            put(store, path)
        assert refused.value.reason == changes.ROOT_GONE


def test_directories_are_as_ordered_once_it_is_settled(store, root):
    store.make_directory(MakeDirectory(1, 1, b"d", 0o755, TIME))
    put(store, b"d/f")
    store.make_symlink(MakeSymlink(1, 1, b"d/l", TIME, b"f"))
    store.delete(Delete(1, 1, b"d/l"))
    store.move(Move(1, 1, b"d", b"e"))
    store.settle()

    assert (root / "e").stat().st_mtime_ns == TIME
    assert (root / "e/f").read_bytes() == b"hello"


def test_a_link_gives_a_file_another_name_and_replaces_what_is_there(store, root):
    put(store, b"f")
    (root / "g").write_bytes(b"old")
    for _ in range(2):  # the second time it is there already
        store.link(Link(3, 1, b"g", 0o644, 5, TIME, b"f", False))
        store.settle()

    assert (root / "g").samefile(root / "f")
    assert sorted(os.listdir(root)) == ["f", "g"]


@pytest.mark.parametrize("what", ["missing", "another time", "another mode", "a directory"])
def test_a_link_to_another_file_than_is_meant_is_refused_and_leaves_nothing(store, root, what):
    if what == "a directory":
        (root / "f").mkdir()
    elif what != "missing":
        put(store, b"f")
    (root / "g").write_bytes(b"old")
    mode, time = 0o600 if what == "another mode" else 0o644, TIME + (what == "another time")
    with pytest.raises(Refused) as refused:
        store.link(Link(2, 1, b"g", mode, 5, time, b"f", False))

    assert refused.value.reason == changes.BASE_MISMATCH
    assert (root / "g").read_bytes() == b"old"
    assert temporaries(root) == []


def test_a_copy_is_a_file_of_its_own(store, root):
    put(store, b"f")
    store.link(Link(2, 1, b"g", 0o644, 5, TIME, b"f", True))

    assert (root / "g").read_bytes() == b"hello"
    assert (root / "g").stat().st_mtime_ns == TIME
    assert not (root / "g").samefile(root / "f")
    with pytest.raises(Refused):
        store.link(Link(3, 1, b"h", 0o644, 6, TIME, b"f", True))
    with pytest.raises(Refused):
        store.link(Link(4, 1, b"h", 0o644, 5, TIME, b"missing", True))
    assert sorted(os.listdir(root)) == ["f", "g"]


def test_attributes_of_one_name_leave_those_of_another_name_alone(store, root):
    put(store, b"f")
    store.link(Link(2, 1, b"g", 0o644, 5, TIME, b"f", False))
    store.set_attributes(SetAttributes(3, 1, b"g", 0o600, 5, 1, TIME, b""))

    one, other = (root / "f").stat(), (root / "g").stat()
    assert (stat.S_IMODE(one.st_mode), one.st_mtime_ns) == (0o644, TIME)
    assert (stat.S_IMODE(other.st_mode), other.st_mtime_ns) == (0o600, 1)
    assert (root / "g").read_bytes() == b"hello"
    assert temporaries(root) == []
