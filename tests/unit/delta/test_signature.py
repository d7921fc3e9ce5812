import dataclasses
import random

import numpy as np
import pytest
from xxhash import xxh3_128_digest

from replicator.delta.rolling import WeakSum
from replicator.delta.signature import MAX_BLOCK, MAX_BLOCKS, Signature, Signer, block_size_for
from replicator.errors import DeltaError

M = 0x9E3779B1
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def sign(data, block_size=256, cuts=()):
    signer = Signer(block_size, M)
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        signer.update(data[start:end])
    return signer.finish()


@pytest.mark.parametrize(
    ("size", "block"),
    [
        (0, 4 * KIB),
        (16 * MIB, 4 * KIB),
        (16 * MIB + 1, 8 * KIB),
        (32 * MIB, 8 * KIB),
        (256 * MIB, 16 * KIB),
        (GIB, 32 * KIB),
        (TIB, MIB),
        (16 * TIB, 4 * MIB),
        (1 << 60, MAX_BLOCK),
    ],
)
def test_block_size_grows_with_the_square_root(size, block):
    assert block_size_for(size) == block


def test_the_largest_file_fits():
    assert 16 * TIB // block_size_for(16 * TIB) <= MAX_BLOCKS


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1024, 1337])
def test_sums_of_every_block(size):
    data = random.Random(size).randbytes(size)
    signature = sign(data)
    full = size // 256
    blocks = np.frombuffer(data[: full * 256], dtype=np.uint8).reshape(full, 256)
    assert signature.size == size
    assert signature.full_blocks == full
    assert signature.weak == WeakSum(256, M).of_blocks(blocks).astype("<u4").tobytes()
    assert signature.strong == b"".join(
        xxh3_128_digest(data[start : start + 256]) for start in range(0, size, 256)
    )


@pytest.mark.parametrize(
    "cuts", [[1], [255], [256], [257], [100, 100, 300, 900], list(range(1, 1337))]
)
def test_cuts_do_not_matter(cuts):
    data = random.Random(5).randbytes(1337)
    assert sign(data, cuts=cuts) == sign(data)


def test_the_chunk_may_be_used_again():
    signer = Signer(256, M)
    buffer = bytearray(b"a" * 300)
    signer.update(memoryview(buffer))
    buffer[:] = b"b" * 300
    signer.update(b"a" * 300)
    assert signer.finish() == sign(b"a" * 600)


@pytest.mark.parametrize("size", [0, 1, 256, 1337])
def test_pack_and_unpack(size):
    signature = sign(bytes(size))
    packed = signature.pack()
    assert Signature.unpack(packed) == signature
    assert len(packed) == 20 + 4 * (size // 256) + 16 * -(-size // 256)


@pytest.mark.parametrize("length", [0, 1, 4, 19, 20, 21, 100, -1])
def test_truncated(length):
    packed = sign(bytes(1337)).pack()
    with pytest.raises(DeltaError):
        Signature.unpack(packed[:length])


def test_too_long():
    with pytest.raises(DeltaError):
        Signature.unpack(sign(bytes(1337)).pack() + b"\0")


def test_another_version():
    with pytest.raises(DeltaError, match="version"):
        Signature.unpack(b"sig2" + sign(b"").pack()[4:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": -1},
        {"size": 1593},
        {"size": 1 << 62},
        {"block_size": 0},
        {"block_size": 32},
        {"block_size": 384},
        {"block_size": 2 * MAX_BLOCK},
        {"block_size": 512},
        {"multiplier": 0},
        {"multiplier": 2},
        {"multiplier": -1},
        {"multiplier": (1 << 32) + 1},
        {"weak": b""},
        {"strong": b""},
    ],
)
def test_what_contradicts_itself_cannot_be_made(wrong):
    with pytest.raises(DeltaError):
        dataclasses.replace(sign(bytes(1337)), **wrong)


@pytest.mark.parametrize(("block_size", "multiplier"), [(100, M), (32, M), (256, 2), (256, 0)])
def test_signer_refuses_what_a_signature_would(block_size, multiplier):
    with pytest.raises(DeltaError):
        Signer(block_size, multiplier)
