"""Compressed payloads: the same content arrives, only what shrinks is compressed, and a false one costs no memory."""

import os
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ProtocolError
from replicator.wire import compression, frames

TEXT = b"<?php echo translate('order.history', $customer); ?>\n" * 100
IMAGE = os.urandom(len(TEXT))


def decoded(data):
    decoder = frames.Decoder()
    decoder.receive(data)
    (frame,) = decoder.frames()
    return frame


def compressed(size, data):
    return frames.Frame({"z": size, "t": "data"}, data)


@given(st.lists(st.binary(max_size=40).map(lambda data: data * 50), max_size=5))
def test_any_payload_arrives_as_it_was_with_and_without_the_feature(parts):
    header = {"t": "data", "n": 7}
    encoded = compression.encode(header, parts)
    assert compression.payload_of(decoded(encoded)) == b"".join(parts)
    assert compression.plain(encoded) == frames.encode(header, parts)
    assert len(encoded) <= len(frames.encode(header, parts))


def test_text_is_compressed_and_what_is_compressed_already_is_not():
    assert len(compression.encode({}, [TEXT])) < len(TEXT) / 5
    for payload in ([IMAGE], [zlib.compress(IMAGE.hex().encode())], [b""], [TEXT[:200]], []):
        assert compression.encode({"t": "data"}, payload) == frames.encode({"t": "data"}, payload)


def test_a_text_between_images_does_not_make_a_batch_larger():
    mixed = [IMAGE, TEXT, IMAGE, IMAGE]
    encoded = compression.encode({"t": "batch"}, mixed)
    assert compression.payload_of(decoded(encoded)) == b"".join(mixed)
    assert len(encoded) <= len(frames.encode({"t": "batch"}, mixed))


@pytest.mark.parametrize(
    "frame",
    [
        compressed(len(TEXT) - 1, zlib.compress(TEXT)),
        compressed(len(TEXT) + 1, zlib.compress(TEXT)),
        compressed(len(TEXT), zlib.compress(TEXT)[:-1]),
        compressed(len(TEXT), zlib.compress(TEXT) + b"x"),
        compressed(len(TEXT), TEXT),
        compressed(0, zlib.compress(TEXT)),
        compressed(-1, zlib.compress(TEXT)),
        compressed(True, zlib.compress(b"x")),
        compressed("9", zlib.compress(TEXT)),
        compressed(frames.MAX_PAYLOAD + 1, zlib.compress(bytes(frames.MAX_PAYLOAD + 1))),
    ],
)
def test_a_payload_that_is_not_what_was_announced_is_refused(frame):
    with pytest.raises(ProtocolError):
        compression.payload_of(frame)


def test_a_payload_that_inflates_without_end_is_cut_at_the_announced_size():
    bomb = zlib.compress(bytes(64 << 20), 9)
    assert len(bomb) < frames.MAX_PAYLOAD
    with pytest.raises(ProtocolError, match="announced size"):
        compression.payload_of(compressed(1000, bomb))


def test_a_payload_over_the_limit_is_not_sent_however_small_it_would_become():
    with pytest.raises(ProtocolError):
        compression.encode({}, [bytes(frames.MAX_PAYLOAD + 1)])


def test_the_field_is_the_first_so_that_a_plain_frame_is_recognised_without_parsing():
    encoded = compression.encode({"t": "data"}, [TEXT])
    header, _ = struct.unpack(">II", encoded[:8])
    assert encoded[8 : 8 + header].startswith(b'{"z":5300,')
    plain = frames.encode({"t": "data"}, [TEXT])
    assert compression.plain(plain) is plain
