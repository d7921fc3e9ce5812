"""The digest is that of the pieces in their order, in whichever thread they are hashed."""

import hashlib
import threading

from hypothesis import given
from hypothesis import strategies as st

from replicator.agent import hashing

SIZES = st.sampled_from([0, 1, 1000, hashing.WORTHWHILE - 1, hashing.WORTHWHILE, 1 << 20])


@given(st.lists(SIZES, max_size=6))
def test_pieces_of_all_sizes_are_hashed_in_their_order(sizes):
    ours, plain = hashing.Sha256(), hashlib.sha256()
    for number, size in enumerate(sizes):
        piece = bytes([number]) * size
        ours.update(piece)
        plain.update(piece)
    assert ours.digest() == plain.digest()


def test_a_digest_may_be_asked_for_on_the_way():
    ours = hashing.Sha256()
    ours.update(b"a" * (1 << 20))
    assert ours.digest() == hashlib.sha256(b"a" * (1 << 20)).digest()
    ours.update(b"b")
    assert ours.digest() == hashlib.sha256(b"a" * (1 << 20) + b"b").digest()


def test_where_no_thread_may_be_started_the_digest_is_the_same(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    hashing.helper_thread.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    try:
        ours = hashing.Sha256()
        ours.update(b"a" * (1 << 20))
        assert hashing.helper_thread() is None
        assert ours.digest() == hashlib.sha256(b"a" * (1 << 20)).digest()
    finally:
        hashing.helper_thread.cache_clear()


def test_two_digests_share_a_thread_and_nothing_else():
    one, two = hashing.Sha256(), hashing.Sha256()
    for _ in range(3):
        one.update(b"1" * (1 << 20))
        two.update(b"2" * (1 << 20))
    assert one.digest() == hashlib.sha256(b"1" * (3 << 20)).digest()
    assert two.digest() == hashlib.sha256(b"2" * (3 << 20)).digest()


def test_a_piece_may_be_changed_once_the_next_call_has_returned():
    ours, piece = hashing.Sha256(), bytearray(b"1" * (1 << 20))
    helper, go, returned = hashing.helper_thread(), threading.Event(), threading.Event()
    helper.submit(go.wait)

    def update():
        ours.update(memoryview(piece))
        ours.update(b"2")
        returned.set()

    other = threading.Thread(target=update)
    other.start()
    assert not returned.wait(0.05)  # it cannot be, however long we wait
    go.set()
    other.join()
    assert ours.digest() == hashlib.sha256(bytes(piece) + b"2").digest()
