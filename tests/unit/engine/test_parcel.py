"""Framing: every change in its place, within the limits of a frame."""

import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st

from replicator.delta import ops as delta_ops
from replicator.delta.ops import Copy, Literal
from replicator.engine import parcel
from replicator.model import FILE, Entry
from replicator.wire import frames, messages


def opened(encoded):
    decoder = frames.Decoder()
    for frame in encoded:
        decoder.receive(frame)
    return [(messages.decode(frame.header), frame.payload) for frame in decoder.frames()]


def put(size):
    entry = Entry(FILE, 0o644, size, 0, b"", hashlib.sha256(b"").digest())
    return parcel.change_for(1, b"f", entry)


@given(st.lists(st.integers(0, parcel.INLINE_LIMIT), max_size=20))
def test_batches_keep_order_and_contents(sizes):
    items = [(put(size), os.urandom(size)) for size in sizes]
    parcels = list(parcel.batches(items))
    changes, contents = [], b""
    for one in parcels:
        ((message, payload),) = opened(one.frames)
        changes += message.changes
        contents += payload
        assert [part.number for part in one.parts] == [change.number for change in message.changes]

    assert changes == [change for change, _ in items]
    assert contents == b"".join(content for _, content in items)


@given(st.lists(st.integers(1, 2 * parcel.CHUNK), max_size=4), st.booleans())
def test_a_file_in_frames_replays_to_the_same_instructions(sizes, delta):
    ops = [op for size in sizes for op in (Literal(os.urandom(size)), Copy(size, size))]
    one = parcel.file_parcel(put(5), ops, delta=delta)
    first, *data, last = opened(one.frames)
    decoded = [op for message, payload in data for op in delta_ops.decode(message.pairs, payload)]

    assert first[0].delta == one.builds_on == delta
    assert (last[0].end, last[0].pairs) == (True, [])
    assert delta_ops.merge(decoded) == delta_ops.merge(ops)


def test_numbers_are_never_used_twice():
    assert len({parcel.next_number() for _ in range(1000)}) == 1000
