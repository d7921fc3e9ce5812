"""An agent that file modes bind: directories that it may only search, or not change the time of; deep and long ones."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from replicator.wire import changes
from replicator.wire.changes import Delete, MakeDirectory, Move
from replicator.wire.messages import Batch, BeginFile, Data, ListTree
from tests.support.pinned import HELLO, TIME, Agent, put, strays
from tests.support.unprivileged import DROP, NOBODY

# Before rights are dropped: the interpreter itself may lie where nobody else can read.
PRELUDE = f"sandbox._load_what_comes_late(connects=False)\n{DROP}"


@pytest.fixture
def root():
    """A root that everybody may search and only its owner, not the agent's user, may read; in it a tree of the agent's."""
    with tempfile.TemporaryDirectory(prefix="unprivileged-") as directory:
        root = Path(directory)
        (root / "site").mkdir()
        if os.geteuid() == 0:
            os.chown(root / "site", NOBODY, NOBODY)
            root.chmod(0o711)
        yield root


@pytest.fixture
def agent(root):
    with Agent(root, prelude=PRELUDE) as agent:
        assert agent.open().error == ""
        yield agent
        assert agent.end() == (0, "")
    assert strays(root) == []


def ours(path, mode):
    """Make a directory of the agent's user with this mode."""
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)
    return path


def mode_of(path):
    return path.stat().st_mode & 0o7777


def send_streamed(agent, number, path):
    agent.send(BeginFile(put(path, number), delta=False))
    agent.send(Data(number, [[-1, 5]], end=True), HELLO)


@pytest.mark.parametrize("mode", [0o311, 0o111, 0o555, 0o300, 0o000])
def test_a_directory_of_its_own_takes_files_whatever_its_mode(agent, root, mode):
    directory = ours(root / "site/d", mode)
    os.utime(directory, ns=(TIME, TIME))
    agent.send(Batch((put(b"d/f", 1), put(b"d/g", 2), MakeDirectory(3, 1, b"d/sub", 0o755, 5))), HELLO, HELLO)  # fmt: skip
    send_streamed(agent, 4, b"d/streamed")
    agent.send(Batch((Delete(5, 1, b"d/g"),)))
    answers = agent.answers(1, 2, 3, 4, 5)
    assert set(answers.values()) == {""}, answers
    assert {path.name for path in directory.iterdir()} == {"f", "streamed", "sub"}
    assert mode_of(directory / "f") == 0o644
    assert mode_of(directory) == mode
    assert directory.stat().st_mtime_ns == TIME


@pytest.mark.parametrize("mode", [0o000, 0o600, 0o444])
def test_below_directories_of_its_own_that_deny_it_all_comes_and_goes(agent, root, mode):
    """As when a user withdraws a directory by its mode, and later deletes it; each step in a frame of its own."""
    paths = [b"d", b"d/e", b"d/e/f"]
    agent.send(Batch(tuple(MakeDirectory(n, 1, path, mode, TIME) for n, path in enumerate(paths))))
    new = MakeDirectory(14, 1, b"d/e/new", 0o755, TIME)
    agent.send(Batch((put(b"d/e/f/g", 10), new, put(b"d/e/new/h", 11))), HELLO, HELLO)
    send_streamed(agent, 12, b"d/e/f/streamed")
    agent.send(Batch((MakeDirectory(13, 1, b"d/e/f/sub", mode, TIME),)))
    assert set(agent.answers(0, 1, 2, 10, 11, 12, 13, 14).values()) == {""}
    for path in map(os.fsdecode, [*paths, b"d/e/f/sub"]):
        status = (root / "site" / path).stat()
        assert (status.st_mode & 0o7777, status.st_mtime_ns) == (mode, TIME), path
    assert (root / "site/d/e/f/g").read_bytes() == HELLO
    gone = [b"d/e/f/g", b"d/e/f/streamed", b"d/e/f/sub", b"d/e/new/h", b"d/e/new", *reversed(paths)]
    for number, path in enumerate(gone, 20):
        agent.send(Batch((Delete(number, 1, path),)))
        assert agent.answers(number) == {number: ""}, path
    assert os.listdir(root / "site") == []


def test_a_directory_that_may_only_be_searched_is_passed_through(agent, root):
    """Not ours, not to be read: as the home directories of a host with many customers."""
    (root / "site/way").mkdir()
    ours(root / "site/way/mine", 0o755)
    (root / "site/way").chmod(0o711)
    agent.send(Batch((put(b"way/mine/f", 1), put(b"way/f", 2))), HELLO, HELLO)
    send_streamed(agent, 3, b"way/mine/g")
    assert agent.answers(1, 2, 3) == {1: "", 2: changes.DENIED, 3: ""}
    agent.send(ListTree(1, 1, b"way/mine", digest=True, credit=9))
    digest = hashlib.sha256(HELLO).digest()
    assert [(line.path, line.entry.digest) for line in agent.hear().lines] == [
        (b"way/mine/f", digest),
        (b"way/mine/g", digest),
    ]
    agent.send(ListTree(2, 1, b"way", digest=True, credit=9))
    assert [unlisted.path for unlisted in agent.hear().unlisted] == [b"way"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make directories of others")
def test_a_file_of_several_frames_arrives_where_the_directory_is_anothers(agent, root):
    """Its time cannot be put back there; that must undo neither the file nor the connection."""
    (root / "site/shared").mkdir()
    (root / "site/shared").chmod(0o777)
    send_streamed(agent, 1, b"shared/f")
    agent.send(BeginFile(put(b"shared/g", 2), delta=False))
    agent.send(Data(2, [], cancel=True))
    assert agent.answers(1, 2) == {1: "", 2: changes.DIGEST_MISMATCH}
    assert os.listdir(root / "site/shared") == ["f"]


def test_a_setgid_directory_gives_its_group_and_not_its_bit(agent, root):
    shared = ours(root / "site/shared", 0o2775)
    agent.send(Batch((MakeDirectory(1, 1, b"shared/d", 0o755, 5), put(b"shared/d/f", 2))), HELLO)
    assert agent.answers(1, 2) == {1: "", 2: ""}
    assert mode_of(shared) == 0o2775
    assert (mode_of(shared / "d"), mode_of(shared / "d/f")) == (0o755, 0o644)
    assert (shared / "d/f").stat().st_gid == shared.stat().st_gid


def test_three_long_names_below_one_another_are_made_filled_moved_and_deleted(agent, root):
    for letter in ("x", "я"):
        name = (letter * 175).encode()[:254]
        deep = b"/".join([name] * 3)
        file = deep + b"/" + name
        agent.send(
            Batch(
                (
                    MakeDirectory(2, 1, name, 0o555, TIME),
                    MakeDirectory(3, 1, name + b"/" + name, 0o755, TIME),
                    MakeDirectory(4, 1, deep, 0o755, TIME),
                    put(file, 1),
                )
            ),
            HELLO,
        )
        assert agent.answers(1, 2, 3, 4) == dict.fromkeys((1, 2, 3, 4), "")
        top = root / "site" / os.fsdecode(name)
        assert (mode_of(top), top.stat().st_mtime_ns) == (0o555, TIME)
        agent.send(Batch((Move(5, 1, file, deep + b"/moved"), Delete(6, 1, deep + b"/moved"))))
        agent.send(Batch(tuple(Delete(7 + n, 1, b"/".join([name] * (3 - n))) for n in range(3))))
        assert agent.answers(5, 6, 7, 8, 9) == dict.fromkeys((5, 6, 7, 8, 9), "")
    assert os.listdir(root / "site") == []


def test_the_deepest_tree_that_a_path_can_name_comes_and_goes(agent, root):
    depth = 199
    paths = [b"/".join([b"d"] * (n + 1)) for n in range(depth)]
    agent.send(
        Batch(tuple(MakeDirectory(10 + n, 1, path, 0o755, TIME) for n, path in enumerate(paths)))
    )
    agent.send(Batch((put(paths[-1] + b"/f", 1),)), HELLO)
    numbers = range(10, 10 + depth)
    assert set(agent.answers(1, *numbers).values()) == {""}
    agent.send(ListTree(1, 1, b"", digest=False, credit=9))
    assert len(agent.hear().lines) == depth + 1
    gone = [Delete(500, 1, paths[-1] + b"/f")]
    gone += [Delete(501 + n, 1, path) for n, path in enumerate(reversed(paths))]
    agent.send(Batch(tuple(gone)))
    assert set(agent.answers(*(change.number for change in gone)).values()) == {""}
    assert os.listdir(root / "site") == []
