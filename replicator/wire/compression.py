"""Compress the payload of a frame, for lines that are slow or cost money.

The header of such a frame begins with the field `z`: the size of the payload before it was compressed with zlib (RFC 1950). A payload
stays as it is where a sample of it, or the result, shows that little would be saved: images, videos and archives are compressed already.
A frame is compressed once for all frontends. An agent that lacks the feature `compress` gets it as `plain` returns it.

This file is streamed to the frontends: standard library only, Python 3.9.
"""

from __future__ import annotations

import zlib
from typing import Any, Sequence

from replicator.errors import ProtocolError
from replicator.wire import fields, frames
from replicator.wire.frames import Buffer, Frame

LEVEL = 1
"""zlib's fastest level. On PHP and JavaScript it leaves 23 % at 170 MB/s on one core; level 6 leaves 17 % at 46 MB/s."""

SMALLEST = 512
"""Bytes below which a payload is not compressed: it fits into one packet either way."""

WORTH = 0.9
"""Largest share of a payload that may be left for it to be sent compressed."""

SAMPLE = 1024
"""Bytes from the middle of each part of a payload that are tried first; the beginning of a file is often a header of another kind."""

_FIELD = "z"
_PREFIX = b'{"z":'


def encode(header: dict[str, Any], payload: Sequence[Buffer]) -> bytes:
    """Return the bytes of a frame, as `frames.encode` does; the payload is compressed if that makes it smaller.

    Raises:
        ProtocolError: the frame would be larger than the peer accepts.
    """
    size = sum(map(len, payload))
    if SMALLEST <= size <= frames.MAX_PAYLOAD and _shrinks([_middle(part) for part in payload]):
        data = zlib.compress(b"".join(payload), LEVEL)
        if len(data) <= size * WORTH:
            return frames.encode({_FIELD: size, **header}, [data])
    return frames.encode(header, payload)


def payload_of(frame: Frame) -> bytes:
    """Return the payload of a frame as it was before it was compressed.

    Raises:
        ProtocolError: it cannot be decompressed, or has not the announced size.
    """
    if _FIELD not in frame.header:
        return frame.payload
    size = fields.size(frame.header[_FIELD])
    if size > frames.MAX_PAYLOAD:
        raise ProtocolError(f"a payload of {size} bytes is too large")
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(frame.payload, size + 1)  # 0 would mean: no limit
    except zlib.error as error:
        raise ProtocolError(f"a payload cannot be decompressed: {error}") from None
    if len(payload) != size or not inflater.eof or inflater.unused_data:
        raise ProtocolError("a compressed payload has not the announced size")
    return payload


def plain(encoded: bytes) -> bytes:
    """Return a frame for an agent that lacks the feature `compress`: with its payload as it was.

    Args:
        encoded: one frame from `encode`.
    """
    if not encoded.startswith(_PREFIX, frames.LENGTHS.size):
        return encoded
    decoder = frames.Decoder()
    decoder.receive(encoded)
    (frame,) = decoder.frames()
    payload = payload_of(frame)
    del frame.header[_FIELD]
    return frames.encode(frame.header, [payload])


def _middle(part: Buffer) -> Buffer:
    start = max(0, (len(part) - SAMPLE) // 2)
    return part[start : start + SAMPLE]


def _shrinks(sample: Sequence[Buffer]) -> bool:
    data = b"".join(sample)
    return len(zlib.compress(data, LEVEL)) <= len(data) * WORTH
