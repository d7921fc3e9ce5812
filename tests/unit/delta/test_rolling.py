import random

import numpy as np
import pytest

from replicator.delta.rolling import PIECE, WeakIndex, WeakSum
from replicator.delta.sums import WINDOW

M = 0x9E3779B1


def window_sum(data, multiplier):
    total = 0
    for byte in data:
        total = (total * multiplier + byte) % 2**32
    return total


def block_sum(block, probe, multiplier):
    head = window_sum(block[:WINDOW], multiplier)
    deep = window_sum(block[probe : probe + WINDOW], multiplier)
    return (head * pow(multiplier, WINDOW, 2**32) + deep) % 2**32


@pytest.mark.parametrize(
    ("block_size", "probe"), [(64, 32), (256, 128), (4096, 2048), (65536, 8192)]
)
def test_sums_are_the_polynomial_at_every_offset(block_size, probe):
    data = random.Random(block_size).randbytes(block_size + 400)
    weak = WeakSum(block_size, M)
    assert weak.span == probe + WINDOW
    sums = weak.at_every_offset(memoryview(data)[: weak.span + 300])
    expected = [block_sum(data[start:], probe, M) for start in range(301)]
    assert sums.tolist() == expected


@pytest.mark.parametrize("multiplier", [1, M, 2**32 - 1])
def test_blocks_and_offsets_agree(multiplier):
    data = random.Random(1).randbytes(256 * 20)
    weak = WeakSum(256, multiplier)
    blocks = weak.of_blocks(np.frombuffer(data, dtype=np.uint8).reshape(20, 256))
    every = weak.at_every_offset(memoryview(data))
    assert blocks.dtype == every.dtype == np.uint32
    assert blocks.tolist() == every[::256].tolist()


def test_one_offset_and_a_whole_piece():
    weak = WeakSum(4096, M)
    assert len(weak.at_every_offset(memoryview(bytes(weak.span)))) == 1
    data = random.Random(2).randbytes(PIECE + weak.span - 1)
    sums = weak.at_every_offset(memoryview(data))
    assert len(sums) == PIECE
    assert sums[-1] == block_sum(data[PIECE - 1 :], weak.span - WINDOW, M)


def test_the_multiplier_keys_the_sum():
    data = memoryview(random.Random(3).randbytes(64))
    assert WeakSum(64, M).at_every_offset(data)[0] != WeakSum(64, M + 2).at_every_offset(data)[0]


@pytest.mark.parametrize("count", [0, 1, 100, 40_000])
def test_index_finds_exactly_what_is_in_the_set(count):
    rng = np.random.default_rng(count)
    known = rng.integers(0, 2**32, count, dtype=np.uint32)
    probe = rng.integers(0, 2**32, 1000, dtype=np.uint32)
    probe[::100] = known[:10] if count >= 10 else 5
    members = set(known.tolist())
    expected = [at for at, value in enumerate(probe.tolist()) if value in members]
    assert list(WeakIndex(known).find(probe)) == expected


def test_index_at_the_ends_of_the_range():
    index = WeakIndex(np.array([0, 2**32 - 1, 0], dtype=np.uint32))
    assert list(index.find(np.array([0, 1, 2**32 - 2, 2**32 - 1], dtype=np.uint32))) == [0, 3]
    index = WeakIndex(np.array([7], dtype=np.uint32))
    assert list(index.find(np.array([8, 7, 6], dtype=np.uint32))) == [1]


def test_index_finds_all_of_a_piece_of_decoys():
    sums = np.full(PIECE, 7, dtype=np.uint32)
    assert list(WeakIndex(sums).find(sums)) == list(range(PIECE))
