"""Whatever a frontend holds, and however false its sums are: what an agent's sums find is a delta to the source, within the bounds."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.delta import matching
from replicator.delta.ops import Copy, Literal, decode, encode
from replicator.delta.patch import replay
from replicator.delta.signature import AgentSignature
from replicator.delta.sums import ROW, RowMaker
from replicator.engine.changes import difference
from replicator.engine.changes.difference import find_parts, groups_of
from replicator.errors import DeltaError
from tests.property.test_delta_roundtrip import BLOCKS, MULTIPLIERS, contents, edited, signed


def rows_of(data, block, multiplier, blocks_at_once=3):
    maker, step = RowMaker(block, multiplier), block * blocks_at_once
    view = memoryview(data)
    return b"".join(maker.rows(view[at : at + step]) for at in range(0, len(data), step))


def found(held, new):
    return find_parts(
        held, len(new), lambda offset, length: new[offset : offset + length], lambda: True
    )


def patched(parts, base, new):
    """Send parts in frames, and apply these to a base."""
    result = b""
    for group in groups_of(parts):
        ops = [
            one if isinstance(one, Copy) else Literal(new[one.offset : one.offset + one.length])
            for one in group.parts
        ]
        assert group.work <= difference.WORK
        pairs, literals = encode(ops)
        pieces = replay(
            decode(pairs, b"".join(literals)),
            lambda offset, length: base[offset : offset + length],
            base_size=len(base),
            max_size=len(new) - len(result),
        )
        result += b"".join(pieces)
    return result


@pytest.fixture(scope="module", autouse=True)
def small_pieces():
    with (
        mock.patch.object(difference, "PIECE", 700),
        mock.patch.object(difference, "WORK", 900),
        mock.patch.object(difference, "CHUNK", 300),
        mock.patch.object(difference, "WORTHWHILE", 1.0),
    ):
        yield


@settings(max_examples=300)
@given(st.data(), contents(), BLOCKS, MULTIPLIERS)
def test_what_is_found_with_an_agents_sums_makes_the_source_of_what_the_frontend_holds(
    data, base, block, multiplier
):
    new = data.draw(edited(base))
    held = AgentSignature.of_rows(
        len(base), block, multiplier, rows_of(base, block, multiplier, data.draw(st.integers(1, 9)))
    )
    assert held.weak == signed(base, block, multiplier, [len(base) or 1]).weak
    assert patched(found(held, new), base, new) == new


@settings(max_examples=200)
@given(contents(), BLOCKS, MULTIPLIERS)
def test_of_equal_content_nothing_is_lacking(base, block, multiplier):
    held = AgentSignature.of_rows(len(base), block, multiplier, rows_of(base, block, multiplier))
    assert found(held, base) == ([Copy(0, len(base))] if base else [])


@settings(max_examples=200)
@given(st.data(), contents(), contents(), BLOCKS, MULTIPLIERS)
def test_false_sums_give_a_delta_of_the_same_size_within_the_base(
    data, told, new, block, multiplier
):
    rows = bytearray(rows_of(data.draw(st.sampled_from([told, new])), block, multiplier))
    size = len(rows) // ROW * block
    for _ in range(data.draw(st.integers(0, 5)) if rows else 0):
        one, other = (data.draw(st.integers(0, len(rows) // ROW - 1)) * ROW for _ in range(2))
        rows[one : one + ROW] = rows[other : other + ROW]
    with mock.patch.object(matching, "CREDIT", 9000):
        parts = found(AgentSignature.of_rows(size, block, multiplier, bytes(rows)), new)
    assert sum(part.length for part in parts) == len(new)
    assert all(part.offset + part.length <= size for part in parts if isinstance(part, Copy))
    assert len(parts) <= 2 * (len(new) // block) + 3


@settings(max_examples=200)
@given(st.integers(0, 5000), BLOCKS, st.binary(max_size=500))
def test_rows_that_do_not_fit_the_size_raise_only_delta_errors(size, block, rows):
    try:
        held = AgentSignature.of_rows(size, block, 5, rows)
    except DeltaError:
        return
    assert len(rows) == ROW * -(-size // block)
    found(held, bytes(1000))
