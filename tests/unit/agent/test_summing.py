"""Block sums of an agent: in small steps, of one version, and none of what cannot be summed."""

import os
import random

import pytest

from replicator.agent.summing import MOST, STEP, Summing, version_of
from replicator.delta.signature import AgentSignature, Signer
from replicator.delta.sums import ROW, RowMaker
from replicator.errors import ProtocolError
from replicator.wire.messages import BlockSums, SumBlocks
from tests.support.stores import store_at

CONTENT = random.Random(1).randbytes(3 * STEP + 5000)
REQUEST = SumBlocks(7, 1, b"big", 0, 1 << 30, 4096, 5, 0, 8192)
NONE = BlockSums(7)


@pytest.fixture
def big(tmp_path):
    (tmp_path / "big").write_bytes(CONTENT)
    return tmp_path / "big"


@pytest.fixture
def store(tmp_path):
    store = store_at(tmp_path)
    yield store
    store.tree.close()


def summed(store, **more):
    summing = Summing()
    summing.add(store, REQUEST._replace(**more))
    return finished(summing)


def finished(summing):
    steps = 1
    while (answer := summing.step()) is None:
        steps += 1
    return *answer, steps


def test_a_file_is_summed_in_steps_of_a_mebibyte(store, big):
    message, rows, steps = summed(store)
    assert message == BlockSums(7, len(CONTENT), version_of(big.stat()))
    assert rows == RowMaker(4096, 5).rows(memoryview(CONTENT))
    assert steps == 4


def test_the_weak_sums_are_those_of_the_backends_signatures(store, big):
    _, rows, _ = summed(store)
    signer = Signer(4096, 5)
    signer.update(CONTENT)
    held = AgentSignature.of_rows(len(CONTENT), 4096, 5, rows)
    assert held.weak == signer.finish().weak


def test_stretches_are_the_parts_of_the_whole(store, big):
    _, whole, _ = summed(store)
    rows = b"".join(summed(store, first=first, blocks=100)[1] for first in range(0, 900, 100))
    assert rows == whole
    assert len(summed(store, first=100, blocks=3)[1]) == 3 * ROW
    assert summed(store, first=5000)[:2] == (
        BlockSums(7, len(CONTENT), version_of(big.stat())),
        b"",
    )


def test_blocks_larger_than_a_step_are_read_whole(store, big):
    _, rows, _ = summed(store, block_size=2 * STEP, blocks=10)
    assert rows == RowMaker(2 * STEP, 5).rows(memoryview(CONTENT))


def test_an_empty_file_has_no_rows(store, big):
    big.write_bytes(b"")
    assert summed(store)[:2] == (BlockSums(7, 0, version_of(big.stat())), b"")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("/etc/passwd"),
    ],
)
def test_what_is_no_regular_file_has_no_sums(store, tmp_path, make):
    make(tmp_path / "big")
    assert summed(store) == (NONE, b"", 1)


def test_a_path_through_a_symlink_has_no_sums(store, tmp_path, big):
    (tmp_path / "link").symlink_to(tmp_path)
    assert summed(store, path=b"link/big")[:2] == (NONE, b"")


@pytest.mark.parametrize("limits", [{"least": len(CONTENT) + 1}, {"most": len(CONTENT) - 1}])
def test_a_file_of_a_size_out_of_the_limits_is_not_read(store, big, limits):
    assert summed(store, **limits) == (NONE, b"", 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.write_bytes(b"shorter"),
        lambda path: path.unlink(),
        lambda path: (path.rename(path.with_name("old")), path.write_bytes(CONTENT)),
    ],
)
def test_a_file_that_changes_between_two_steps_has_no_sums(store, big, change):
    summing = Summing()
    summing.add(store, REQUEST)
    assert summing.step() is None
    change(big)
    assert finished(summing)[:2] == (NONE, b"")


def test_requests_are_answered_in_order_and_are_bounded(store, big):
    summing = Summing()
    for job in range(MOST):
        summing.add(store, REQUEST._replace(job=job))
    with pytest.raises(ProtocolError):
        summing.add(store, REQUEST)
    assert [finished(summing)[0].job for _ in range(MOST)] == list(range(MOST))
    assert not summing


def test_requests_about_a_tree_that_is_opened_again_are_answered_with_nothing(store, big, tmp_path):
    (tmp_path / "other").mkdir()
    other = store_at(tmp_path / "other")
    summing = Summing()
    summing.add(store, REQUEST)
    summing.add(other, REQUEST._replace(job=8))
    summing.add(store, REQUEST._replace(job=9))
    assert summing.step() is None
    assert summing.closed(store) == [NONE, BlockSums(9)]
    assert finished(summing)[0] == BlockSums(8)
    assert not summing
    other.tree.close()
