"""Split a byte stream into frames, and encode frames.

A frame is two unsigned 32-bit big-endian lengths (header, payload), a JSON object, and a raw payload. Both lengths are checked as
soon as they arrive, so a peer cannot make the receiver buffer more than one frame and one read. Both sides parse frames with the
standard library. Paths are encoded in JSON as UTF-8 with surrogate escapes, so that every byte of a name is kept.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Iterator, NamedTuple, Sequence, Union

from replicator.errors import ProtocolError

MARKER = b"\n\0REPLICATOR\0 agent ready\n"
"""First bytes of the agent's output. The backend skips what a login prints before them; a banner hardly contains NULs."""

MAX_HEADER = 1 << 20
"""Bytes of JSON in a frame: enough for a thousand rows with the longest paths that occur in practice. rsync limits its lists likewise."""

MAX_PAYLOAD = 1 << 20
"""Bytes of content in a frame: at 50 MB/s, a live change waits at most 20 ms for the frame before it."""

LENGTHS = struct.Struct(">II")

Buffer = Union[bytes, bytearray, memoryview]


class Frame(NamedTuple):
    """One parsed frame: its JSON object and its raw payload."""

    header: dict[str, Any]
    payload: bytes


def encode(header: dict[str, Any], payload: Sequence[Buffer] = ()) -> bytes:
    """Return the bytes of a frame; `payload` holds the parts of the payload, in order.

    Raises:
        ProtocolError: the frame would be larger than the peer accepts.
    """
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    size = sum(map(len, payload))
    if len(text) > MAX_HEADER or size > MAX_PAYLOAD:
        raise ProtocolError(f"frame too large to send: header {len(text)}, payload {size} bytes")
    return b"".join((LENGTHS.pack(len(text), size), text, *payload))


class Decoder:
    """Decodes a byte stream, received in pieces of any size, into frames.

    Call `receive` with the bytes that have arrived, then iterate over `frames`.

    Attributes:
        taken: total bytes of the frames yielded so far, lengths and headers included.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._buffer = bytearray()

    def receive(self, data: Buffer) -> None:
        """Add bytes from the peer."""
        self._buffer += data

    def frames(self) -> Iterator[Frame]:
        """Yield each complete frame.

        Raises:
            ProtocolError: a length exceeds its limit, or a header is not a JSON object.
        """
        start = 0
        buffer = self._buffer
        try:
            while len(buffer) - start >= LENGTHS.size:
                header_size, payload_size = LENGTHS.unpack_from(buffer, start)
                if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
                    raise ProtocolError(
                        f"frame too large: header {header_size}, payload {payload_size} bytes"
                    )
                middle = start + LENGTHS.size + header_size
                end = middle + payload_size
                if len(buffer) < end:
                    break
                with memoryview(buffer) as view:
                    header = bytes(view[start + LENGTHS.size : middle])
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
        raise ProtocolError(f"frame header is not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ProtocolError("frame header is not a JSON object")
    return value
