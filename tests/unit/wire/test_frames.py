"""The frame codec: any split gives the same frames, and nothing over a limit is buffered."""

import contextlib
import itertools
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ProtocolError
from replicator.wire import frames

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
headers = st.dictionaries(st.text(max_size=8), json_values, max_size=4)


@given(
    st.lists(st.tuples(headers, st.binary(max_size=300)), max_size=5),
    st.lists(st.integers(0, 1000)),
)
def test_any_split_gives_the_same_frames(messages, cuts):
    stream = b"".join(frames.encode(header, [payload]) for header, payload in messages)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    decoder = frames.Decoder()
    decoded = []
    for start, end in itertools.pairwise(edges):
        decoder.receive(stream[start:end])
        decoded += [(frame.header, frame.payload) for frame in decoder.frames()]

    assert decoded == messages
    assert decoder.taken == len(stream)


@given(st.binary(max_size=400))
def test_garbage_raises_nothing_but_protocol_error(garbage):
    decoder = frames.Decoder()
    decoder.receive(garbage)
    with contextlib.suppress(ProtocolError):
        list(decoder.frames())


@pytest.mark.parametrize(
    "lengths", [(frames.MAX_HEADER + 1, 0), (2, frames.MAX_PAYLOAD + 1), (2**32 - 1, 2**32 - 1)]
)
def test_a_length_over_its_limit_is_refused_before_it_arrives(lengths):
    decoder = frames.Decoder()
    decoder.receive(struct.pack(">II", *lengths))

    with pytest.raises(ProtocolError):
        list(decoder.frames())


@pytest.mark.parametrize(
    "header", [b"[]", b"1", b"nope", b"[" * 100_000, b'{"a":' * 100_000, b"\xff"]
)
def test_a_header_that_is_no_object_is_refused(header):
    decoder = frames.Decoder()
    decoder.receive(struct.pack(">II", len(header), 0) + header)

    with pytest.raises(ProtocolError):
        list(decoder.frames())


def test_a_frame_that_the_peer_would_refuse_is_not_sent():
    with pytest.raises(ProtocolError):
        frames.encode({}, [b"x" * frames.MAX_PAYLOAD, b"x"])


def test_names_of_any_bytes_survive_json():
    name = bytes(range(1, 256))
    text = name.decode("utf-8", "surrogateescape")
    decoder = frames.Decoder()
    decoder.receive(frames.encode({"p": text}))
    (frame,) = decoder.frames()

    assert frame.header["p"].encode("utf-8", "surrogateescape") == name
    assert json.loads(json.dumps(text)) == text
