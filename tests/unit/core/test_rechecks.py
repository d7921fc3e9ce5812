"""Rechecks: each path is checked again when it is due, by the name that it has then."""

import pytest

from replicator.core.rechecks import CONFIRM, GRACE, RENAMED, RETRY, Reason, Rechecks


@pytest.fixture
def rechecks():
    return Rechecks()


def schedule(rechecks, reason, path, now):
    {
        Reason.MISSING: rechecks.missing,
        Reason.UNSTABLE: rechecks.unstable,
        Reason.UNREADABLE: rechecks.unreadable,
    }[reason](path, now)


@pytest.mark.parametrize("reason", Reason)
def test_a_path_below_a_renamed_directory_is_rechecked_by_its_new_name(rechecks, reason):
    for path in (b"old", b"old/f", b"older"):
        schedule(rechecks, reason, path, 0.0)
    list(rechecks.renamed(b"old", b"new/name", 0.25))
    assert rechecks.take(reason, RETRY + 2) == [b"older", b"new/name", b"new/name/f"]


@pytest.mark.parametrize("reason", Reason)
def test_very_many_paths_of_a_renamed_directory_are_renamed_in_portions(rechecks, reason):
    count = 4 * RENAMED
    for number in range(count):
        schedule(rechecks, reason, b"old/%d" % number, 0.0)
    assert sum(1 for _ in rechecks.renamed(b"old", b"new", 0.25)) == 4
    taken = []
    while some := rechecks.take(reason, RETRY + 2):
        taken += some
        rechecks.checked_missing()
    assert taken == [b"new/%d" % number for number in range(count)]


def test_what_is_heard_of_while_its_directory_is_renamed_is_not_missing(rechecks):
    for number in range(2 * RENAMED):
        rechecks.missing(b"old/%d" % number, 0.0)
    last = b"old/%d" % (2 * RENAMED - 1)
    renaming = rechecks.renamed(b"old", b"new", 0.25)
    next(renaming)
    assert rechecks.heard(last) == 0.0
    list(renaming)
    assert not rechecks.is_missing(last.replace(b"old", b"new"))
    assert rechecks.is_missing(b"new/1")


def test_the_grace_period_of_a_missing_path_starts_again_with_its_new_name(rechecks):
    for path in (b"old/f", b"new/f"):
        rechecks.missing(path, 0.0)
    list(rechecks.renamed(b"old", b"new", 0.25))
    assert rechecks.take(Reason.MISSING, GRACE) == []
    assert rechecks.take(Reason.MISSING, 0.25 + GRACE) == [b"new/f"]
    assert rechecks.missing(b"new/f", 1.0)


def test_unstable_records_are_confirmed_together(rechecks):
    for moment in (0.1, 0.5, 0.9):
        rechecks.unstable(b"%f" % moment, moment)
    assert rechecks.next_due() == 1 + CONFIRM
    assert len(rechecks.take(Reason.UNSTABLE, 1 + CONFIRM)) == 3


def test_unreadable_paths_of_an_area_are_found_among_any_number_of_others(rechecks):
    for number in range(200):
        rechecks.unreadable(b"cache/%d" % number, 0.0)
    rechecks.unreadable(b"releases/7/config", 0.0)
    assert len(rechecks.unreadable_paths()) == 100
    assert rechecks.unreadable_paths(b"releases/7") == [b"releases/7/config"]
    assert rechecks.unreadable_paths(b"releases/7/config") == [b"releases/7/config"]
    assert rechecks.unreadable_paths(b"releases/7/configuration") == []


def test_a_directory_that_cannot_be_listed_concerns_what_is_below_it(rechecks):
    rechecks.unreadable(b"releases", 0.0)
    assert rechecks.unreadable_paths(b"releases/7") == [b"releases"]
    assert rechecks.unreadable_paths(b"cache") == []


def test_an_unreadable_path_stays_listed_until_it_is_read(rechecks):
    assert rechecks.unreadable(b"f", 0.0)
    assert not rechecks.unreadable(b"f", 1.0)
    assert rechecks.take(Reason.UNREADABLE, 1.0 + RETRY) == [b"f"]
    assert rechecks.unreadable_paths() == [b"f"]
    rechecks.readable(b"f")
    assert rechecks.next_due() is None
