"""A file in several frames: published whole and verified, or not at all."""

import hashlib
import os

import pytest

from replicator.agent import transfer as transfers
from replicator.agent.hashing import Sha256
from replicator.agent.refusals import Refused
from replicator.agent.transfer import Transfer
from replicator.delta.patch import MAX_PIECE
from replicator.errors import DeltaError
from replicator.wire import changes
from replicator.wire.changes import PutFile
from tests.support.stores import store_at

TIME = 1_600_000_000_123_456_789
OLD, NEW = b"0123456789" * 100, b"0123456789" * 50 + b"new" + b"0123456789" * 50


@pytest.fixture
def root(tmp_path):
    (tmp_path / "f").write_bytes(OLD)
    return tmp_path


@pytest.fixture
def store(root):
    store = store_at(root)
    yield store
    store.tree.close()


def put(content=NEW, path=b"f", digest=None):
    digest = digest or hashlib.sha256(content).digest()
    return PutFile(1, 1, path, 0o640, len(content), TIME, digest)


def is_untouched(root):
    return os.listdir(root) == ["f"] and (root / "f").read_bytes() == OLD


def test_a_delta_turns_the_old_version_into_the_new_one(store, root):
    transfer = Transfer(store, put(), delta=True)
    transfer.feed([[0, 500], [-1, 3]], b"new")
    assert (root / "f").read_bytes() == OLD  # until the end
    transfer.feed([[500, 500]], b"")
    transfer.finish()

    assert (root / "f").read_bytes() == NEW
    assert (root / "f").stat().st_mtime_ns == TIME
    assert os.listdir(root) == ["f"]


def test_a_piece_of_the_base_may_be_hashed_until_the_next_one_is_given_over(
    store, root, monkeypatch
):
    class Late(Sha256):
        """As late as the thread may be."""

        waiting = b""

        def update(self, piece):
            super().update(bytes(self.waiting))
            self.waiting = piece

        def digest(self):
            self.update(b"")
            return super().digest()

    monkeypatch.setattr(transfers, "Sha256", Late)
    base = b"".join(bytes([n]) * MAX_PIECE for n in range(5))
    (root / "f").write_bytes(base)
    transfer = Transfer(store, put(base + b"end"), delta=True)
    transfer.feed([[0, len(base)], [-1, 3]], b"end")
    transfer.finish()
    assert (root / "f").read_bytes() == base + b"end"


def test_a_root_that_was_moved_away_meanwhile_gets_nothing_more(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    store = store_at(root, place=os.fsencode(root))
    transfer = Transfer(store, put(), delta=False)
    transfer.feed([[-1, len(NEW)]], NEW)
    root.rename(elsewhere)
    with pytest.raises(Refused) as caught:
        transfer.finish()
    transfer.abort()
    store.tree.close()
    assert caught.value.reason == changes.ROOT_GONE
    assert os.listdir(elsewhere) == []


def test_a_base_that_is_another_one_is_a_base_mismatch_and_the_old_version_stays(store, root):
    (root / "f").write_bytes(OLD[::-1])
    transfer = Transfer(store, put(), delta=True)
    transfer.feed([[0, 500], [-1, 3], [500, 500]], b"new")
    with pytest.raises(Refused) as caught:
        transfer.finish()
    transfer.abort()

    assert caught.value.reason == changes.BASE_MISMATCH
    assert (root / "f").read_bytes() == OLD[::-1]
    assert os.listdir(root) == ["f"]


def test_a_base_that_is_missing_is_a_base_mismatch(store, root):
    with pytest.raises(Refused) as caught:
        Transfer(store, put(path=b"g"), delta=True)
    assert caught.value.reason == changes.BASE_MISMATCH
    assert is_untouched(root)


def test_content_that_is_not_what_was_announced_is_a_digest_mismatch(store, root):
    transfer = Transfer(store, put(digest=bytes(32)), delta=False)
    transfer.feed([[-1, len(NEW)]], NEW)
    with pytest.raises(Refused) as caught:
        transfer.finish()
    transfer.abort()

    assert caught.value.reason == changes.DIGEST_MISMATCH
    assert is_untouched(root)


@pytest.mark.parametrize(
    ("pairs", "payload"),
    [
        ([[-1, len(NEW) + 1]], NEW + b"x"),
        ([[0, 900], [0, 900]], b""),
        ([[900, 200]], b""),
        ([[len(OLD), 1]], b""),
    ],
    ids=["more literals", "more copies", "across the end", "beyond the end"],
)
def test_more_than_was_announced_or_from_outside_of_the_base_is_refused(
    store, root, pairs, payload
):
    transfer = Transfer(store, put(), delta=True)
    with pytest.raises(DeltaError):
        transfer.feed(pairs, payload)
    transfer.abort()
    assert is_untouched(root)


def test_what_ends_early_is_not_published(store, root):
    transfer = Transfer(store, put(), delta=False)
    transfer.feed([[-1, 3]], b"new")
    with pytest.raises(Refused):
        transfer.finish()
    transfer.abort()
    assert is_untouched(root)


def test_an_aborted_transfer_leaves_nothing_and_the_directorys_time(store, root):
    os.utime(root, ns=(TIME, TIME))
    transfer = Transfer(store, put(), delta=False)
    os.utime(root, ns=(TIME, TIME))
    transfer.abort()
    assert is_untouched(root)
    assert root.stat().st_mtime_ns == TIME


def test_a_file_that_the_disk_has_no_room_for_is_refused_before_its_content(store, root):
    with pytest.raises(Refused) as caught:
        Transfer(store, put()._replace(size=1 << 60), delta=False)
    assert caught.value.reason == changes.NO_SPACE
    assert [path.name for path in root.iterdir()] == ["f"]


def test_a_small_file_is_tried_however_full_the_disk_is(store, root, monkeypatch):
    """On a file system that compresses it may fit."""
    real = os.fstatvfs(store.tree.root_fd)
    full = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
    monkeypatch.setattr(transfers.os, "fstatvfs", lambda _: full)
    transfer = Transfer(store, put(), delta=False)
    transfer.feed([[-1, len(NEW)]], NEW)
    transfer.finish()
    assert (root / "f").read_bytes() == NEW
    with pytest.raises(Refused, match="No space left"):
        Transfer(store, put()._replace(size=transfers.TRIED + 1), delta=False)
