"""Fuzz the start of an agent: the loader, the pinned agent that skips streamed code, user names, the marker, error output."""

import asyncio
import io
import os
from unittest import mock

from replicator.agent import roots
from replicator.agent.main import MAX_CODE, _skip_code
from replicator.errors import AgentFailed, ProtocolError
from replicator.transport import bundle, stream
from replicator.transport.failures import start_failure
from replicator.wire.frames import MARKER
from tests.fuzz import mutate
from tests.fuzz.target import sentence, target

NOISE = 100
"""Limit of bytes before the marker for these tests, so that small inputs reach it."""

PIECE = 7
RAN = "RAN.append(1)"
PACKED = bundle.pack(RAN)
_LOADER = compile(bundle.LOADER, "<loader>", "exec")


class Input:
    """Standard input that returns at most 4096 bytes per read."""

    def __init__(self, data):
        self.left = data

    def read(self, _fd, size):
        """As os.read."""
        piece, self.left = self.left[: min(size, 4096)], self.left[min(size, 4096) :]
        return piece


@target(PACKED, PACKED + b"what follows", PACKED[:-3], b"5 x\nabcde")
def loader(data):
    """Raise nothing; catches SystemExit, whose code must be DAMAGED. Assert that the code runs only if it arrived complete."""
    ran, source = [], Input(data)
    with mock.patch.object(os, "read", source.read):
        try:
            exec(_LOADER, {"RAN": ran})
        except SystemExit as end:
            status = end.code
        else:
            status = 0
    assert status == (0 if ran else bundle.DAMAGED)
    assert not ran or data.startswith(PACKED)


@target(b"4 unused\ncode", b"0 x\nrest", b"%d x\n" % MAX_CODE, b"-1 x\n", PACKED)
def code(data):
    """Raise nothing; catches ProtocolError. Assert that exactly the streamed code is skipped."""
    source = Input(data)
    with mock.patch.object(os, "read", source.read):
        try:
            _skip_code(0)
        except ProtocolError:
            return
    line, _, rest = data.partition(b"\n")
    assert source.left == rest[int(line.split()[0]) :]


@target(
    b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:\n",
    "\u00b2:x:\u00b2:\n".encode(),
    mutate=mutate.lines,
)
def names(data):
    """Raise nothing. Assert that malformed lines of /etc/passwd and /etc/group are ignored."""

    def opened(_file, **how):
        return io.TextIOWrapper(io.BytesIO(data), **how)

    with (
        mock.patch.object(roots, "open", opened, create=True),
        mock.patch.dict(roots.known_ids, clear=True),
    ):
        roots.remember_names()
        assert all(0 <= number <= roots.MAX_ID for number in roots.known_ids.values())


async def _wait_for_marker(pieces):
    left = iter(pieces)

    async def read():
        return next(left, b"")

    noise, rest = await stream.after_marker(read, "host")
    return noise, None if rest is None else rest + b"".join(left)


@target(
    MARKER,
    b"Welcome!\r\n" + MARKER + b"frames",
    b"n" * NOISE + MARKER,
    MARKER[:-1] + MARKER,
    b"n" * (NOISE + 1),
    limit=400,
)
def marker(data):
    """Raise nothing; catches AgentFailed. Assert that the result does not depend on how the stream is split into reads."""
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    found = []
    for cut in ([data], pieces):
        with mock.patch.object(stream, "MAX_NOISE", NOISE):
            try:
                found.append(asyncio.run(_wait_for_marker(cut)))
            except AgentFailed as error:
                sentence(error)
                found.append(None)
    # Near the limit the result may differ, because a part of the marker counts as noise until the rest arrives.
    if not NOISE - len(MARKER) < data.find(MARKER) <= NOISE:
        assert found[0] == found[1]


@target(b"bash: python3: command not found\n", b"3.6.8", b"\x1b[31mTraceback\n\xff\n")
def last_words(data):
    """Raise nothing. Assert that any output of a frontend becomes a printable error message of bounded length."""
    for status in (None, 0, 1, bundle.TOO_OLD, bundle.DAMAGED, 127):
        sentence(start_failure("host", status, stream.said(data)))
