import random

import pytest
from xxhash import xxh3_128_digest

from replicator.delta import matching
from replicator.delta.matching import Matcher
from replicator.delta.ops import MAX_LITERAL, Copy, Literal, literal_bytes, merge
from replicator.delta.patch import replay
from replicator.delta.signature import AgentSignature, Signature, Signer, block_size_for
from replicator.delta.sums import STRONG_SIZE, WEAK_SIZE, RowMaker, strong_sum

M = 0x9E3779B1
MIB = 1 << 20
B = 4096


def sign(data, block=B):
    signer = Signer(block, M)
    signer.update(data)
    return signer.finish()


def delta(base, new, block=B, chunk=64 << 10):
    """The instructions, once they have been proven right."""
    matcher = Matcher(sign(base, block))
    ops = []
    for start in range(0, len(new), chunk):
        ops += matcher.feed(new[start : start + chunk])
    ops += matcher.finish()
    copied = replay(
        ops, lambda at, length: base[at : at + length], base_size=len(base), max_size=len(new)
    )
    assert b"".join(copied) == new
    assert merge(ops) == ops
    return ops


@pytest.fixture(scope="module")
def data():
    return random.Random(1).randbytes(MIB + 1234)


@pytest.fixture
def hashed(monkeypatch):
    """Counts the bytes under strong sums while matching."""
    counted = []

    def counting(view):
        counted.append(len(view))
        return xxh3_128_digest(view)

    monkeypatch.setattr(Signature, "strong_sum", Signature.strong_sum._replace(of=counting))
    return counted


@pytest.mark.parametrize("chunk", [999, B, 64 << 10, 2 * MIB])
def test_identical_is_one_copy(data, chunk):
    assert delta(data, data, chunk=chunk) == [Copy(0, len(data))]


def test_both_empty():
    assert delta(b"", b"") == []


def test_from_and_to_nothing(data):
    assert delta(b"", data[:5000]) == [Literal(data[:5000])]
    assert delta(data, b"") == []


@pytest.mark.parametrize("size", [1, 100, B - 1])
def test_smaller_than_a_block(data, size):
    base = data[:size]
    assert delta(base, base) == [Copy(0, size)]
    assert delta(base, b"xyz" + base) == [Literal(b"xyz"), Copy(0, size)]
    assert delta(base, base + b"xyz") == [Copy(0, size), Literal(b"xyz")]


def test_insert_in_front(data):
    assert delta(data, b"x" * 13 + data) == [Literal(b"x" * 13), Copy(0, len(data))]


def test_insert_of_13_bytes_is_two_copies_and_a_block(data):
    ops = delta(data, data[:300_000] + b"x" * 13 + data[300_000:])
    assert [type(op) for op in ops] == [Copy, Literal, Copy]
    assert literal_bytes(ops) == B + 13


def test_insert_of_13_bytes_into_32_mib():
    data = random.Random(2).randbytes(32 * MIB)
    ops = delta(
        data, data[: 7 * MIB + 5] + b"x" * 13 + data[7 * MIB + 5 :], block_size_for(32 * MIB), MIB
    )
    assert len(ops) == 3
    assert literal_bytes(ops) < 40_000


def test_delete(data):
    ops = delta(data, data[:300_000] + data[300_100:])
    assert [type(op) for op in ops] == [Copy, Literal, Copy]
    assert literal_bytes(ops) < 2 * B


def test_delete_of_a_large_part(data):
    ops = delta(data, data[:300_000] + data[700_000:])
    assert len(ops) == 3
    assert literal_bytes(ops) < 2 * B


@pytest.mark.parametrize("at", [0, 5000, 2 * B - 2, MIB - 3, MIB + 1000])
def test_edit_in_place(data, at, hashed):
    new = data[:at] + bytes(byte ^ 1 for byte in data[at : at + 3]) + data[at + 3 :]
    ops = delta(data, new, chunk=2 * MIB)
    assert len(ops) <= 3
    assert literal_bytes(ops) <= 2 * B
    assert sum(hashed) < len(data) + 8 * B


def test_edit_in_place_needs_no_search(data, monkeypatch):
    monkeypatch.setattr(matching.WeakSum, "at_every_offset", None)
    delta(data, data[:300_000] + b"x" * 9000 + data[309_000:], chunk=2 * MIB)


def test_a_run_of_equal_blocks_is_one_copy():
    zeros, other = bytes(16 * B), random.Random(8).randbytes(B)
    assert delta(other + zeros, zeros) == [Copy(B, 16 * B)]
    assert delta(zeros, other + zeros[B:], chunk=MIB) == [Literal(other), Copy(B, 15 * B)]


def test_long_overwrite_in_place(data):
    new = data[:100_000] + random.Random(3).randbytes(300_000) + data[400_000:]
    assert literal_bytes(delta(data, new)) < 300_000 + 2 * B


def test_append_sends_what_was_appended_and_no_more(data):
    assert delta(data, data + b"x" * 9999) == [Copy(0, len(data)), Literal(b"x" * 9999)]


def test_truncate(data):
    ops = delta(data, data[:500_000])
    assert ops[0] == Copy(0, 500_000 // B * B)
    assert literal_bytes(ops) < B


def test_edit_in_the_last_full_block_keeps_the_tail(data):
    at = MIB - 5
    ops = delta(data, data[:at] + b"xx" + data[at:])
    assert ops[-1] == Copy(MIB, 1234)
    assert literal_bytes(ops) == B + 2


def test_swapped_halves(data):
    half = 512 << 10
    assert delta(data, data[half:MIB] + data[:half]) == [Copy(half, half), Copy(0, half)]


def test_repeated(data):
    assert literal_bytes(delta(data[:MIB], data[:MIB] * 3)) == 0


def test_unrelated_is_all_literal_in_bounded_pieces(data):
    new = random.Random(4).randbytes(3 * MIB + 17)
    ops = delta(data, new)
    assert literal_bytes(ops) == len(new)
    assert len(ops) <= 8
    assert all(type(op.data) is bytes and len(op.data) <= MAX_LITERAL for op in ops)


@pytest.mark.parametrize("extra", [1, 4095, 4097])
def test_zeros(extra):
    zeros = bytes(MIB)
    assert literal_bytes(delta(zeros, zeros + bytes(extra))) <= B
    assert literal_bytes(delta(zeros, b"\1" * extra + zeros)) <= extra + B
    assert literal_bytes(delta(zeros, zeros[:-extra])) < B
    assert literal_bytes(delta(zeros, zeros[:5000] + b"\1" + zeros)) <= 2 * B


def test_the_chunk_may_be_used_again(data):
    matcher = Matcher(sign(data))
    buffer = bytearray(b"x" * 5000)
    ops = matcher.feed(memoryview(buffer))
    buffer[:] = b"y" * 5000
    ops += matcher.finish()
    assert ops == [Literal(b"x" * 5000)]


def test_between_calls_less_than_a_block_is_held(data):
    matcher = Matcher(sign(data))
    for start in range(0, MIB, 10_000):
        matcher.feed(b"x" + data[start : start + 9999])
        assert len(matcher._rest) < B


def test_a_large_insert_is_overshot_by_a_sixteenth_at_most(monkeypatch, data):
    monkeypatch.setattr(matching, "GIVE_UP", 64 << 10)
    inserted = random.Random(5).randbytes(2 * MIB + 77)
    ops = delta(data, data[:300_000] + inserted + data[300_000:])
    assert literal_bytes(ops) < len(inserted) * 17 // 16 + 4 * B
    assert isinstance(ops[-1], Copy)


def test_after_giving_up_an_overwrite_in_place_is_left_at_the_next_block(monkeypatch, data):
    monkeypatch.setattr(matching, "GIVE_UP", 64 << 10)
    monkeypatch.setattr(matching, "OVERSHOOT", 1)
    new = data[:100_000] + random.Random(6).randbytes(700_000) + data[800_000:]
    assert literal_bytes(delta(data, new)) < 700_000 + 2 * B


def decoys(heads, size, seed, block=256):
    """Blocks whose weak sums are all equal: they differ in bytes that no window covers."""
    rng = random.Random(seed)
    gap = rng.randbytes(block // 2 - 32)
    return b"".join(
        heads + rng.randbytes(8) + gap[8:] + heads + gap[:-8] + rng.randbytes(8)
        for _ in range(size // block)
    )


def test_forty_thousand_equal_weak_sums_cost_no_more_than_one(hashed):
    heads = b"h" * 32
    base = decoys(heads, 40_000 * 256, 1)
    new = b"x" + decoys(heads, 1000 * 256, 2)
    ops = delta(base, new, block=256)
    assert literal_bytes(ops) == len(new)
    assert len(hashed) < 2 * 1000 + 10


def test_decoys_do_not_hide_what_matches():
    base = decoys(b"h" * 32, MIB, 1)
    assert delta(base, b"xyz" + base, block=256) == [Literal(b"xyz"), Copy(0, MIB)]


def test_candidates_at_every_offset_are_followed_within_the_credit(hashed):
    # Every window is zeros, and no block is: 4,000 candidates for each block, each worth a strong sum of 4 KiB.
    base = bytes(B) * 16 + b"\1" * B
    new = (bytes(B - 1) + b"\1") * (4 * MIB // B)
    literals = literal_bytes(delta(base, new))
    assert literals == len(new)
    assert sum(hashed) < matching.CREDIT + (matching.CREDIT_RATE + 2) * len(new)


def test_false_sums_of_a_frontend_cost_bounded_work(monkeypatch):
    """All weak sums are those of the source, and no strong sum: a candidate at every offset, each worth a SHA-256."""
    counted = []

    def counting(view):
        counted.append(len(view))
        return strong_sum(view)

    slow = AgentSignature.strong_sum
    monkeypatch.setattr(AgentSignature, "strong_sum", slow._replace(of=counting))
    new = (bytes(B - 1) + b"\1") * (4 * MIB // B)
    weak = RowMaker(B, M).rows(memoryview(bytes(B)))[:WEAK_SIZE]
    held = AgentSignature.of_rows(1000 * B, B, M, (weak + bytes(STRONG_SIZE)) * 1000)
    matcher = Matcher(held)
    ops = matcher.feed(new) + matcher.finish()
    assert literal_bytes(ops) == len(new)
    in_search = (matching.CREDIT + matching.CREDIT_RATE * len(new)) / slow.cost
    assert sum(counted) < in_search + 2 * len(new)


def test_after_the_credit_is_spent_matches_are_found_again():
    base = bytes(B) * 16 + random.Random(7).randbytes(MIB)
    decoy = (bytes(B - 1) + b"\1") * (2 * MIB // B)
    ops = delta(base, decoy + base[16 * B :])
    # Candidates of the piece in which the credit ran out are lost, and no more.
    assert ops[-1].length >= MIB - matching.PIECE
