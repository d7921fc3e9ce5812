"""What a frontend has acknowledged, and its power is cut: a real ext4, shut down by the kernel without its last journal."""

import os

import pytest

from replicator.wire import changes
from replicator.wire.changes import MakeDirectory, MakeSymlink
from replicator.wire.messages import Batch, BeginFile, Data
from tests.support.disks import volume
from tests.support.pinned import HELLO, Agent, put

COUNT = 200


@pytest.fixture
def disk(tmp_path):
    with volume(tmp_path) as made:
        (made.where / "site").mkdir()
        os.sync()
        yield made


def acknowledged(disk, *, durable):
    """Send what a frontend may be sent; return the paths of what it has acknowledged."""
    with Agent(disk.where) as agent:
        assert agent.open(durable=durable).error == ""
        files = tuple(put(b"f%d" % number, number) for number in range(COUNT))
        agent.send(Batch(files), *[HELLO] * COUNT)
        agent.send(Batch((MakeDirectory(COUNT, 1, b"d", 0o755, 5), MakeSymlink(COUNT + 1, 1, b"l", 5, b"f1"))))  # fmt: skip
        agent.send(BeginFile(put(b"d/streamed", COUNT + 2), delta=False))
        agent.send(Data(COUNT + 2, [[-1, 5]], end=True), HELLO)
        assert set(agent.answers(*range(COUNT + 3)).values()) == {""}
        disk.cut_power()
    disk.boot()
    return [*(f"f{number}" for number in range(COUNT)), "d/streamed"]


def whole(disk, paths):
    """Return how many of the files are there with their content."""
    site = disk.where / "site"
    return sum((site / p).is_file() and (site / p).read_bytes() == HELLO for p in paths)


def test_what_was_acknowledged_for_a_durable_tree_survives(disk):
    paths = acknowledged(disk, durable=True)
    assert whole(disk, paths) == len(paths)
    assert (disk.where / "site/l").is_symlink()


def test_without_it_nothing_is_promised_and_much_is_lost(disk):
    """If this fails, the power is not cut, and the test before proves nothing."""
    paths = acknowledged(disk, durable=False)
    assert whole(disk, paths) < len(paths)


BROKEN = """
from replicator.agent import results
def sync(fd):
    raise OSError(5, "Input/output error")
results.sync = sync
"""


def test_what_the_disk_did_not_take_is_not_acknowledged(tmp_path):
    (tmp_path / "site").mkdir()
    with Agent(tmp_path, prelude=BROKEN) as agent:
        for durable, answer in ((True, changes.FAILED), (False, "")):
            agent.open(durable=durable)
            agent.send(Batch((put(b"f", 1), put(b"g", 2))), HELLO, HELLO)
            assert agent.answers(1, 2) == {1: answer, 2: answer}
            agent.send(BeginFile(put(b"h", 3), delta=False))
            agent.send(Data(3, [[-1, 5]], end=True), HELLO)
            assert agent.answers(3) == {3: answer}
