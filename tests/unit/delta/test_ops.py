import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.delta import ops
from replicator.delta.ops import Copy, Literal, Merger, decode, encode, literal_bytes, merge
from replicator.errors import DeltaError


def test_copies_that_continue_each_other_become_one():
    assert merge([Copy(0, 4), Copy(4, 4), Copy(8, 1)]) == [Copy(0, 9)]


@pytest.mark.parametrize("second", [Copy(5, 4), Copy(3, 4), Copy(0, 4)])
def test_other_copies_stay_apart(second):
    assert merge([Copy(0, 4), second]) == [Copy(0, 4), second]


def test_a_literal_between_keeps_copies_apart():
    parts = [Copy(0, 4), Literal(b"x"), Copy(4, 4)]
    assert merge(parts) == parts


def test_literals_merge():
    assert merge([Literal(b"ab"), Literal(b"c"), Copy(0, 1), Literal(b"d")]) == [
        Literal(b"abc"),
        Copy(0, 1),
        Literal(b"d"),
    ]


def test_empty_instructions_vanish():
    assert merge([Literal(b""), Copy(7, 0)]) == []
    assert merge([Copy(0, 4), Literal(b""), Copy(9, 0), Copy(4, 4)]) == [Copy(0, 8)]


def test_literals_are_cut_at_their_limit():
    content = os.urandom(5 * ops.MAX_LITERAL // 2)
    merged = merge([Literal(content), Literal(b"kl"), Literal(b"m")])
    assert all(len(op.data) <= ops.MAX_LITERAL for op in merged)
    assert b"".join(op.data for op in merged) == content + b"klm"


def test_merger_keeps_the_last_instruction_open():
    merger = Merger()
    merger.copy(0, 4)
    assert merger.take() == []
    merger.copy(4, 4)
    merger.literal(b"x")
    assert merger.take() == [Copy(0, 8)]
    assert merger.finish() == [Literal(b"x")]
    assert merger.finish() == []


def test_merger_copies_what_it_is_lent():
    buffer = bytearray(b"abc")
    merger = Merger()
    merger.literal(memoryview(buffer))
    buffer[:] = b"xyz"
    assert merger.finish() == [Literal(b"abc")]


def test_literal_bytes_counts_what_travels():
    assert literal_bytes([Copy(0, 100), Literal(b"abc"), Literal(b"d")]) == 4


def test_encode_and_decode():
    parts = [Literal(b"ab"), Copy(0, 9), Literal(b"c"), Copy(100, 1)]
    pairs, literals = encode(parts)
    assert pairs == [[-1, 2], [0, 9], [-1, 1], [100, 1]]
    assert literals == [b"ab", b"c"]
    assert list(decode(pairs, b"abc")) == parts
    assert list(decode(pairs, memoryview(b"abc"))) == parts


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        {},
        "ab",
        7,
        [7],
        [None],
        ["ab"],
        [[]],
        [[0]],
        [[0, 1, 2]],
        [{"0": 1, "1": 2}],
        [[0, "1"]],
        [[0, 1.0]],
        [[0, float("nan")]],
        [[0, None]],
        [[True, 1]],
        [[0, True]],
        [[0, 0]],
        [[0, -1]],
        [[-2, 1]],
        [[-1, 0]],
        [[0, ops.MAX_EXTENT + 1]],
        [[ops.MAX_EXTENT + 1, 1]],
        [[10**5000, 1]],
    ],
)
def test_decode_refuses(pairs):
    with pytest.raises(DeltaError):
        decode(pairs, b"")


@pytest.mark.parametrize("payload", [b"", b"a", b"abc"])
def test_decode_refuses_a_payload_of_another_length(payload):
    with pytest.raises(DeltaError, match="payload"):
        decode([[-1, 1], [-1, 1]], payload)


def test_decode_refuses_too_many():
    assert len(list(decode([[0, 1]] * ops.MAX_OPS, b""))) == ops.MAX_OPS
    with pytest.raises(DeltaError):
        decode([[0, 1]] * (ops.MAX_OPS + 1), b"")


def test_what_goes_to_frontends_needs_the_standard_library_alone():
    # -S: no site-packages, so NumPy and xxhash cannot be found.
    root = Path(ops.__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); import replicator.delta.patch"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=30)
