"""What is sent of a file of which a frontend holds another version: when a delta is not worthwhile, and what goes into one frame."""

import random

from replicator.delta.ops import Copy
from replicator.delta.signature import AgentSignature
from replicator.delta.sums import RowMaker
from replicator.engine.changes import difference
from replicator.engine.changes.difference import (
    CHUNK,
    WORK,
    Own,
    find_parts,
    groups_of,
)
from replicator.engine.changes.encode import FRAME_OPS

MIB = 1 << 20
BLOCK = 4096
OLD = random.Random(1).randbytes(8 * MIB)


def held(data=OLD):
    rows = RowMaker(BLOCK, 5).rows(memoryview(data))
    return AgentSignature.of_rows(len(data), BLOCK, 5, rows)


def found(new, is_wanted=lambda: True):
    reads = []

    def read(offset, length):
        reads.append(offset)
        return new[offset : offset + length]

    return find_parts(held(), len(new), read, is_wanted), reads


def test_an_unrelated_file_is_not_read_to_its_end():
    parts, reads = found(random.Random(2).randbytes(32 * MIB))
    assert parts == []
    assert len(reads) < 32


def test_a_file_that_lacks_less_than_the_limit_at_its_end_is_a_delta():
    parts, _ = found(OLD + bytes(8 * MIB))
    assert parts == [Copy(0, 8 * MIB), Own(8 * MIB, 8 * MIB)]


def test_a_search_ends_when_it_is_not_wanted_or_the_file_has_changed():
    answers = iter([True, True, False])
    parts, reads = found(OLD, lambda: next(answers))
    assert parts is None
    assert len(reads) == 2
    assert find_parts(held(), len(OLD), lambda offset, length: None, lambda: True) is None


def test_a_delta_of_too_many_parts_is_not_sent(monkeypatch):
    monkeypatch.setattr(difference, "MOST_PARTS", 20)
    swapped = b"".join(
        OLD[at + BLOCK : at + 2 * BLOCK] + OLD[at : at + BLOCK]
        for at in range(0, len(OLD), 2 * BLOCK)
    )
    assert found(swapped)[0] == []


def test_frames_are_bounded_by_the_bytes_that_are_sent_and_those_that_the_agent_writes():
    parts = [Copy(5, 10 * WORK), Own(10 * WORK, 3 * CHUNK + 1)]
    parts += [Copy(0, 1), Copy(2, 1)] * FRAME_OPS
    groups = list(groups_of(parts))
    for group in groups:
        assert group.work == sum(part.length for part in group.parts) <= WORK
        assert sum(part.length for part in group.parts if isinstance(part, Own)) <= CHUNK
        assert len(group.parts) <= FRAME_OPS
    assert sum(group.work for group in groups) == sum(part.length for part in parts)
    assert len(groups) <= 10 + 4 + 3
