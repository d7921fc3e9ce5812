"""Fuzz deltas from a peer, and signatures from the catalog."""

import json
from unittest import mock

from replicator.delta import matching
from replicator.delta.matching import Matcher
from replicator.delta.ops import Copy, Literal, Merger, decode, encode, literal_bytes
from replicator.delta.patch import replay
from replicator.delta.signature import MIN_BLOCK, Signature, Signer
from replicator.errors import DeltaError
from replicator.source.snapshot import base_of
from tests.fuzz import mutate
from tests.fuzz.target import target

BASE = bytes(range(250)) * 8
CONTENT = BASE[:300] + b"an insertion" + BASE[300:900] + BASE[1024:]
MAX_SIZE = 3000


def frame_of(*ops):
    pairs, literals = encode(ops)
    return mutate.frame(json.dumps(pairs).encode(), b"".join(literals))


def sums(content, block=MIN_BLOCK):
    signer = Signer(block, 0x9E3779B1)
    signer.update(content)
    return signer.finish().pack()


@target(
    frame_of(Copy(0, 300), Literal(b"an insertion"), Copy(300, 1700)),
    frame_of(Literal(b"x" * 100)),
    frame_of(*[Copy(at, 7) for at in range(0, 300, 10)]),
    mutate=mutate.frames,
)
def delta(data):
    """Raise nothing; catches DeltaError. Assert that replay yields at most `max_size` bytes, and bounds each read of the base."""
    parts, _ = mutate.split(data)
    header, payload = parts[0] if parts else (data, b"")
    try:
        pairs = json.loads(header)
    except (ValueError, RecursionError):  # the frame decoder refuses such a header
        return
    size = 0
    try:
        for base_size in (
            len(BASE),
            len(BASE) + 500,
        ):  # the latter: the base was truncated meanwhile
            size = 0
            for piece in replay(
                decode(pairs, payload), _read, base_size=base_size, max_size=MAX_SIZE
            ):
                size += len(piece)
                assert size <= MAX_SIZE
    except DeltaError:
        return
    merger = Merger()
    for op in decode(pairs, payload):
        merger.copy(*op) if isinstance(op, Copy) else merger.literal(op.data)
    again = b"".join(replay(merger.finish(), _read, base_size=len(BASE), max_size=MAX_SIZE))
    assert len(again) == size


def _read(offset, length):
    assert offset >= 0
    assert 0 < length <= MAX_SIZE + len(BASE)
    return BASE[offset : offset + length]


@target(sums(BASE), sums(BASE, 4096), sums(b""), sums(BASE[:130]), limit=1024)
def signature(data):
    """Raise nothing; catches DeltaError. Assert that an accepted signature yields only copies inside its base."""
    try:
        found = Signature.unpack(data)
    except DeltaError:
        assert base_of(data) is None
        return
    assert found.pack() == data
    with mock.patch.object(matching, "GIVE_UP", 2 * found.block_size):
        matcher, cuts = Matcher(found), range(0, len(CONTENT), 333)
        ops = [op for at in cuts for op in matcher.feed(CONTENT[at : at + 333])] + matcher.finish()
    copied = [op for op in ops if isinstance(op, Copy)]
    assert all(0 <= op.offset < op.offset + op.length <= found.size for op in copied)
    assert literal_bytes(ops) + sum(op.length for op in copied) == len(CONTENT)
