"""Cut a byte stream into frames.

A frame is two unsigned 32-bit big-endian lengths (header, payload), a JSON object, and a raw payload. Both lengths are
checked before anything is buffered, so a peer can make us hold one frame and no more. The standard library parses it on
both sides. Paths travel in JSON as UTF-8 with surrogate escapes, so that every byte of a name survives.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Iterator, NamedTuple, Sequence, Union

from replicator.errors import ProtocolError

MARKER = b"\n\0REPLICATOR\0 agent ready\n"
"""The agent's first bytes. Whatever a login prints before it is skipped; NULs make it unlikely in any banner."""

MAX_HEADER = 1 << 20
"""Bytes of JSON: a thousand rows with the longest paths that occur in practice; rsync caps its lists likewise."""

MAX_PAYLOAD = 1 << 20
"""Bytes of content: at 50 MB/s one frame holds up a live change for 20 ms at worst."""

_LENGTHS = struct.Struct(">II")

Buffer = Union[bytes, bytearray, memoryview]


class Frame(NamedTuple):
    """One parsed frame: its JSON object and its raw payload."""

    header: dict[str, Any]
    payload: bytes


def encode(header: dict[str, Any], payload: Sequence[Buffer] = ()) -> bytes:
    """Return the bytes of a frame; `payload` is the parts of the payload, in order.

    Raises:
        ProtocolError: if it would be larger than the peer accepts (our bug, or a listing beyond reason).
    """
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    size = sum(map(len, payload))
    if len(text) > MAX_HEADER or size > MAX_PAYLOAD:
        raise ProtocolError(f"frame too large to send: header {len(text)}, payload {size} bytes")
    return b"".join((_LENGTHS.pack(len(text), size), text, *payload))


class Decoder:
    """Turns received bytes, however they were split, into frames.

    Call `receive` with what has arrived, then take what `frames` yields.

    Attributes:
        taken: bytes of all frames that were yielded.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._buffer = bytearray()

    def receive(self, data: Buffer) -> None:
        """Add bytes from the peer."""
        self._buffer += data

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that is complete.

        Raises:
            ProtocolError: if a length is over its limit or a header is no JSON object.
        """
        start = 0
        buffer = self._buffer
        try:
            while len(buffer) - start >= _LENGTHS.size:
                header_size, payload_size = _LENGTHS.unpack_from(buffer, start)
                if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
                    raise ProtocolError(
                        f"frame too large: header {header_size}, payload {payload_size} bytes"
                    )
                middle = start + _LENGTHS.size + header_size
                end = middle + payload_size
                if len(buffer) < end:
                    break
                with memoryview(buffer) as view:
                    header = bytes(view[start + _LENGTHS.size : middle])
                    payload = bytes(view[middle:end])
                self.taken += end - start
                start = end
                yield Frame(_parse(header), payload)
        finally:
            del buffer[:start]


def _parse(header: bytes) -> dict[str, Any]:
    try:
        value = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"frame header is no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ProtocolError("frame header is no JSON object")
    return value
