"""Fuzz the wire format: frames, and the messages in them."""

from contextlib import suppress

from replicator.errors import ProtocolError
from replicator.wire import compression
from replicator.wire import frames as wire
from replicator.wire import messages as words
from tests.fuzz import mutate
from tests.fuzz.target import target
from tests.fuzz.targets import samples

PIECE = 13
"""Bytes per read; small, so that lengths and JSON are split at many positions."""

_ESCAPED = (words.Hello, words.Opened, words.Listing, words.Acks, words.Restored)
"""Messages with free text, which the decoder escapes to be printable; so encoding does not give the original text."""


def received(pieces):
    """Decode a stream; return its frames, and whether a ProtocolError ended it."""
    decoder, found = wire.Decoder(), []
    try:
        for piece in pieces:
            decoder.receive(piece)
            for frame in decoder.frames():
                found.append(frame)
                assert len(frame.payload) <= wire.MAX_PAYLOAD
                with suppress(ProtocolError):
                    assert len(compression.payload_of(frame)) <= wire.MAX_PAYLOAD
    except ProtocolError:
        return found, True
    assert len(decoder._buffer) <= 8 + wire.MAX_HEADER + wire.MAX_PAYLOAD
    assert decoder.taken + len(decoder._buffer) == sum(map(len, pieces))
    return found, False


@target(
    samples.stream(*samples.FROM_BACKEND),
    samples.stream(samples.HI, (samples.LISTING, b"payload")),
    compression.encode({"t": "data"}, [b"content" * 99]),
    mutate=mutate.frames,
    limit=16384,
)
def frames(data):
    """Raise nothing; catches ProtocolError. Assert that the result does not depend on how the stream is split into reads."""
    cut = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    assert repr(received(cut)) == repr(received([data]))  # JSON may hold NaN, which equals nothing


@target(
    *map(samples.text, samples.FROM_BACKEND),
    *map(samples.text, samples.FROM_AGENT),
    mutate=mutate.json_text,
)
def messages(data):
    """Raise nothing; catches ProtocolError. Assert that an accepted message can be encoded and decoded again."""
    try:
        (frame,), _ = received([mutate.frame(data)])
        message = words.decode(frame.header)
    except (ProtocolError, ValueError):  # ValueError: the unpacking above found no frame
        return
    if not isinstance(message, _ESCAPED):
        assert words.decode(message.header()) == message
    for sentence in sentences(message):
        assert sentence.isprintable()


def sentences(message):
    """Yield the texts of a message that are shown to operators."""
    if isinstance(message, words.Hello):
        yield from (message.about, *message.features)
    elif isinstance(message, words.Opened):
        yield from (message.error, message.doubt)
    elif isinstance(message, words.Listing):
        yield from (reason for _, reason in message.unlisted)
    elif isinstance(message, words.Acks):
        yield from (detail for _, _, detail in message.refused)
    elif isinstance(message, words.Restored):
        yield message.error
