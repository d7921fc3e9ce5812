"""Only one process writes below a prefix."""

import pytest

from replicator.base.layout import OWNER
from replicator.base.prefix import Prefix
from replicator.errors import StoreError
from tests.support.fakes.store import FakeStore


def prefix(store, identity="me"):
    return Prefix(store, identity, lambda _: None)


def test_the_first_process_claims_an_empty_prefix():
    one = prefix(FakeStore())
    one.open()
    one.check()
    assert one.is_open


def test_another_backend_is_refused_unless_it_takes_over():
    store = FakeStore()
    one, other = prefix(store), prefix(store, "other")
    one.open()
    with pytest.raises(StoreError, match="--take-over"):
        other.open()
    one.check()
    other.open(take_over=True)
    other.check()
    assert other.took_over
    with pytest.raises(StoreError, match="another backend has begun"):
        one.check()


def test_a_restarted_process_claims_its_prefix_again():
    store = FakeStore()
    prefix(store).open()
    again = prefix(store)
    again.open()
    again.check()
    assert not again.took_over


def test_a_process_that_has_lost_its_claim_does_not_take_it_back_by_itself():
    store = FakeStore()
    one, copy = prefix(store), prefix(store)
    one.open()
    copy.open()
    with pytest.raises(StoreError, match="copy of this state directory"):
        one.check()
    with pytest.raises(StoreError, match="copy of this state directory"):
        one.open()
    copy.check()
    one.open(take_over=True)
    one.check()


def test_an_owner_that_was_cut_off_while_it_was_written_locks_nobody_out():
    store = FakeStore()
    prefix(store).open()
    store.objects[OWNER] = b""
    again = prefix(store)
    again.open()
    again.check()


def test_an_owner_that_is_gone_is_no_other_process_and_is_written_again():
    """Someone has emptied the bucket."""
    store = FakeStore()
    one = prefix(store)
    one.open()
    store.delete([OWNER])
    with pytest.raises(StoreError, match="missing or damaged: it is written again"):
        one.check()
    assert not one.is_open
    one.open()
    one.check()


def test_of_two_processes_that_claim_a_prefix_at_the_same_time_one_is_refused():
    store = FakeStore()
    prefix(store).open()
    one, other = prefix(store), prefix(store)

    load = store.load

    def load_and_lose(name, limit):
        """The other one claims the prefix after this one has read who the owner is."""
        found = load(name, limit)
        store.load = load
        other.open()
        return found

    store.load = load_and_lose
    with pytest.raises(StoreError, match="just now"):
        one.open()
    other.check()
    assert not one.is_open
