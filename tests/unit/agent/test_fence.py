import fcntl
import hashlib
import os
import struct

import pytest

from replicator.agent import fencing, file_writer
from replicator.agent.fencing import Fenced, FencingToken, FencingTokens, open_locks
from replicator.agent.listing import ListingJob
from replicator.agent.transfer import Transfer
from replicator.wire.changes import Delete, MakeDirectory, MakeSymlink, Move, PutFile, SetAttributes
from replicator.wire.messages import ListTree
from tests.support.stores import store_at

NEW, OLD = b"new", b"old"
F_OFD_SETLK = 37


def close(token):
    """Close the lock file of an agent: the kernel releases its locks."""
    os.close(token._fd)


@pytest.fixture
def agent(tmp_path):
    """Return a function that makes what an agent has of a tree, the same for all."""
    made = []

    def agent(lineage=b"backend"):
        made.append(store_at(tmp_path, session=b"%d" % len(made), lineage=lineage))
        return made[-1]

    yield agent
    for store in made:
        store.tree.close()


def put(content, path=b"f", number=1):
    return PutFile(number, 1, path, 0o644, len(content), 0, hashlib.sha256(content).digest())


def seen(root):
    paths = [root, *sorted(root.iterdir())]
    return [(p, p.lstat().st_mtime_ns, p.lstat().st_mode) for p in paths]


def write(store, content):
    store.put(put(content), memoryview(content))


def test_a_replaced_agent_changes_nothing(agent, tmp_path):
    old = agent()
    write(old, OLD)
    newer = agent()
    write(old, OLD)  # nobody has taken over yet
    write(newer, NEW)
    newer.settle()
    before = seen(tmp_path)
    for act in (
        lambda: write(old, OLD),
        lambda: old.delete(Delete(1, 1, b"f")),
        lambda: old.make_directory(MakeDirectory(1, 1, b"d", 0o755, 0)),
        lambda: old.make_symlink(MakeSymlink(1, 1, b"l", 0, b"x")),
        lambda: old.move(Move(1, 1, b"f", b"g")),
        lambda: old.set_attributes(SetAttributes(1, 1, b"f", 0o600, 3, 7, 0, put(NEW).digest)),
        old.lease.look,
    ):
        with pytest.raises(Fenced):
            act()
    assert (tmp_path / "f").read_bytes() == NEW
    assert seen(tmp_path) == before


def test_an_agent_that_is_replaced_in_the_middle_of_a_file_does_not_publish_it(agent, tmp_path):
    old = agent()
    transfer = Transfer(old, put(OLD), delta=False)
    transfer.feed([[-1, 3]], OLD)
    newer = agent()
    write(newer, NEW)
    with pytest.raises(Fenced):
        transfer.finish()
    transfer.abort()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [NEW]


def test_an_agent_that_is_replaced_while_it_writes_a_small_file_does_not_publish_it(
    agent, tmp_path, monkeypatch
):
    old = agent()
    write(old, OLD)
    newer = agent()

    def meanwhile(fd, data):
        monkeypatch.undo()
        write(newer, NEW)
        os.write(fd, data)

    monkeypatch.setattr(file_writer, "write_all", meanwhile)
    with pytest.raises(Fenced):
        write(old, OLD)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [NEW]


def test_of_two_agents_that_start_together_the_later_one_serves(agent, tmp_path):
    """Neither has changed anything when the other begins."""
    earlier, later = agent(), agent()
    write(earlier, OLD)
    write(later, NEW)
    with pytest.raises(Fenced):
        write(earlier, OLD)
    write(later, NEW)
    assert (tmp_path / "f").read_bytes() == NEW


def test_agents_that_take_the_same_number_in_the_same_instant_get_different_ones(
    tmp_path, monkeypatch
):
    """The first reads that no number is taken, and the second takes one before the first has."""
    real, tokens = fcntl.fcntl, []

    def meanwhile(fd, command, asked):
        if command == F_OFD_SETLK and not tokens:
            tokens.append(None)
            tokens[0] = FencingToken(open_locks(), os.fsencode(tmp_path))
        return real(fd, command, asked)

    monkeypatch.setattr(fencing.fcntl, "fcntl", meanwhile)
    tokens.append(FencingToken(open_locks(), os.fsencode(tmp_path)))
    for token in tokens:
        token.check()
    with pytest.raises(Fenced):
        tokens[0].check()
    for token in tokens:
        close(token)


class LastRelease(FencingToken):
    """An agent of the release before agents reserved their numbers: it counts from 1, and is visible once it has changed something."""

    def __init__(self, lineage):
        super().__init__(-1, lineage)
        self._fd, self._possible, self._number = open_locks(), True, 1
        while (other := self._at_or_above(self._number)) is not None:
            self._number = other + 1


@pytest.fixture
def start(tmp_path):
    """Return a function that starts an agent of this or of the last release for the same tree."""
    started = []

    def start(kind):
        lineage = os.fsencode(tmp_path)
        token = LastRelease(lineage) if kind == "last" else FencingToken(open_locks(), lineage)
        started.append(token)
        return token

    yield start
    for token in started:
        close(token)


@pytest.mark.parametrize(
    "kinds",
    [("last", "this"), ("this", "last"), ("last", "this", "last", "this"), ("last", "last", "this", "this")],
)  # fmt: skip
def test_each_agent_fences_those_before_it_whatever_their_release_is(start, kinds):
    before = []
    for kind in kinds:
        newest = start(kind)
        newest.check()
        for old in before:
            with pytest.raises(Fenced):
                old.check()
        newest.check()
        before.append(newest)


def test_an_agent_of_the_last_release_that_has_changed_nothing_yet_does_not_end_a_newer_one(start):
    """It took its number while another one was running."""
    other = start("last")
    other.check()
    idle = start("last")
    os.close(other._fd)  # the kernel releases its lock
    other._fd = os.open(os.devnull, os.O_RDONLY)
    newer = start("this")
    newer.check()
    with pytest.raises(Fenced):
        idle.check()
    newer.check()


def test_verifying_a_lease_does_not_fence_older_agents(agent):
    old = agent()
    write(old, OLD)
    newer = agent()
    newer.lease.look()
    write(old, OLD)


def test_a_listing_fences_older_agents(agent, tmp_path):
    old = agent()
    write(old, OLD)
    newer = agent()
    job = ListingJob(newer, ListTree(1, 1, b"", False, 1))
    with pytest.raises(Fenced):
        write(old, NEW)
    assert [line.path for line in job.step().lines] == [b"f"]
    agent().lease.take_over()
    with pytest.raises(Fenced):
        ListingJob(newer, ListTree(2, 1, b"", False, 1))


def test_agents_of_different_backends_do_not_fence_each_other(agent):
    one, two = agent(b"one"), agent(b"two")
    for content in (OLD, NEW):
        write(one, content)
        write(two, content)


def test_an_agent_that_ended_fences_no_other(agent):
    older, newer = agent(), agent()
    write(newer, NEW)
    newer.tree.close()
    newer.tree.root_fd = os.dup(older.tree.root_fd)
    write(older, OLD)


def test_where_nothing_can_be_locked_a_tree_is_served_all_the_same(tmp_path):
    fd = os.open(tmp_path, os.O_PATH)
    try:
        FencingToken(fd, b"backend").check()
    finally:
        os.close(fd)
    FencingToken(-1, b"backend").check()


def test_a_lock_on_the_target_by_another_user_has_no_effect(tmp_path):
    """Everybody can open it; only the agent's user can open the file that agents are locked on."""
    target = os.open(tmp_path, os.O_RDONLY)
    fcntl.fcntl(target, F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0))
    fcntl.flock(target, fcntl.LOCK_EX)
    root, locks = os.open(tmp_path, os.O_RDONLY), open_locks()
    status = os.fstat(locks)
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o600)
    token = FencingTokens(b"backend", locks).of(root)
    token.check()
    for fd in (target, root, locks):
        os.close(fd)
    close(token)


@pytest.mark.parametrize("mode", [0o644, 0o620])
def test_a_file_that_others_can_open_is_not_locked(tmp_path, monkeypatch, mode):
    real = os.open

    def here(path, flags, *more, **how):
        return real(tmp_path / "locks", flags, *more, **how)

    (tmp_path / "locks").touch()
    (tmp_path / "locks").chmod(mode)
    monkeypatch.setattr(fencing.os, "open", here)
    assert open_locks() == -1


def test_more_agents_than_can_be_alive_end_instead_of_counting_for_ever(tmp_path, monkeypatch):
    crowd = os.fsencode(tmp_path)  # all processes of the machine share the file of locks
    monkeypatch.setattr(fencing, "MAX_ALIVE", 3)
    made = []
    for _ in range(3):
        made.append(FencingToken(open_locks(), crowd))
        made[-1].check()
    with pytest.raises(Fenced, match="too many"):
        FencingToken(open_locks(), crowd)
    for token in made:
        close(token)


def test_an_agent_that_newer_ones_cannot_see_ends(tmp_path):
    locks = os.open(tmp_path / "locks", os.O_RDWR | os.O_CREAT, 0o600)
    token = FencingToken(locks, b"backend")
    token.check()
    token.check_lock()
    (tmp_path / "locks").unlink()
    with pytest.raises(Fenced, match="was removed"):
        token.check_lock()
    os.close(locks)


def test_an_agent_that_opens_a_root_twice_is_not_replaced_by_itself(tmp_path):
    root = os.open(tmp_path, os.O_RDONLY)
    ours, others = FencingTokens(b"backend"), FencingTokens(b"backend")
    first = ours.of(root)
    first.check()
    assert ours.of(root) is first
    first.check()
    os.close(root)

    root = os.open(tmp_path, os.O_RDONLY)
    others.of(root).check()
    os.close(root)
    with pytest.raises(Fenced):
        first.look()
