import os

import pytest

from replicator.delta import patch
from replicator.delta.ops import Copy, Literal
from replicator.errors import DeltaError

BASE = bytes(range(100))


def read(offset, length):
    return BASE[offset : offset + length]


def replay(ops, read=read, base_size=100, max_size=1000):
    return b"".join(patch.replay(ops, read, base_size=base_size, max_size=max_size))


def test_copies_and_literals():
    assert replay([Copy(98, 2), Literal(b"x"), Copy(0, 3)]) == b"\x62\x63x\x00\x01\x02"


def test_nothing():
    assert replay([], max_size=0) == b""


def test_whole_base():
    assert replay([Copy(0, 100)], max_size=100) == BASE


@pytest.mark.parametrize("op", [Copy(0, 101), Copy(100, 1), Copy(-1, 5), Copy(5, 0), Copy(5, -2)])
def test_copy_outside_the_base(op):
    with pytest.raises(DeltaError):
        replay([op])


@pytest.mark.parametrize("op", [Copy(0, 10), Literal(b"0123456789")])
def test_more_than_announced(op):
    assert len(replay([op], max_size=10)) == 10
    with pytest.raises(DeltaError):
        replay([op], max_size=9)
    with pytest.raises(DeltaError):
        replay([op, Literal(b"x")], max_size=10)


def test_too_much_is_refused_before_it_is_read():
    def never(offset, length):
        raise AssertionError

    with pytest.raises(DeltaError):
        replay([Copy(0, 1 << 40)], read=never, base_size=1 << 50, max_size=1 << 30)


def test_large_copies_come_in_pieces():
    most = patch.MAX_PIECE
    base, asked = os.urandom(3 * most), []

    def recording(offset, length):
        asked.append((offset, length))
        return base[offset : offset + length]

    copied = replay([Copy(5, 2 * most + 10)], recording, base_size=len(base), max_size=len(base))
    assert copied == base[5 : 2 * most + 15]
    assert asked == [(5, most), (5 + most, most), (5 + 2 * most, 10)]


def test_short_reads_are_continued():
    assert replay([Copy(5, 70)], lambda at, length: read(at, min(length, 7))) == BASE[5:75]


def test_a_base_that_shrank():
    with pytest.raises(DeltaError, match="early"):
        replay([Copy(90, 20)], base_size=200)


def test_a_reader_that_returns_too_much():
    with pytest.raises(DeltaError):
        replay([Copy(0, 5)], lambda at, length: read(at, length + 1))
